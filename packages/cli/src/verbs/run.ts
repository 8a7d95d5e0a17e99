import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { isCoordError } from "@coord/core";
import { durationMs, showDuration, waitMs } from "../duration.ts";
import { ExitError, exitCodeOf, exitCodes, UsageError } from "../exit.ts";
import { onInterrupt } from "../interrupt.ts";
import { writeMetrics } from "../metrics-file.ts";
import type { RunMetrics } from "../metrics-file.ts";
import type { Store, StoreOptions } from "../store.ts";
import { supervise } from "../supervise.ts";
import type { Ended } from "../supervise.ts";
import { printable, say, toJson } from "../terminal.ts";
import { commandAfterDashes, exitCode, storeVerb, withStore } from "../verb.ts";

const defaultTtlMs = 60_000;
const longestKillAfterMs = 10_000;

interface RunOptions extends StoreOptions {
  readonly ttl?: number | undefined;
  readonly wait?: number | undefined;
  readonly atLeast?: number | undefined;
  readonly killAfter?: number | undefined;
  readonly conflictExitCode?: number | undefined;
  readonly holder?: string | undefined;
  readonly metricsFile?: string | undefined;
  readonly quiet?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** A third of the ttl at the most: when it begins, two renewals have failed, and not only one that was slow. */
export function killAfterOf(killAfterMs: number | undefined, ttlMs: number): number {
  const longest = Math.floor(ttlMs / 3);
  if (killAfterMs === undefined) return Math.min(longestKillAfterMs, longest);
  if (killAfterMs <= longest) return killAfterMs;
  throw new UsageError(
    `--kill-after may be a third of the ttl at the most, ${longest}ms of ${ttlMs}ms, got ${killAfterMs}ms. Raise --ttl or lower --kill-after.`,
  );
}

interface Report {
  readonly outcome: RunMetrics["outcome"];
  readonly exitCode: number;
  readonly message?: string | undefined;
}

function reportOf(ended: Ended, command: string): Report {
  if (ended.failed !== undefined) {
    const message = `${command} could not be started: ${ended.failed}`;
    return { outcome: "failed", exitCode: ended.exitCode, message };
  }
  if (!ended.stopped) return { outcome: "ran", exitCode: ended.exitCode };
  const message = "The lease could not be kept: the command was ended before anybody else could hold it.";
  return { outcome: "lost", exitCode: exitCodes.lost, message };
}

function reportOfError(error: unknown, key: string, conflictExitCode: number): Report {
  const message = error instanceof Error ? error.message : String(error);
  if (isCoordError(error, "COORD_ACQUIRE_TIMEOUT")) {
    const { holder, remainingMs } = error instanceof Object && "holder" in error ? heldBy(error) : nobody;
    const text = `"${key}" is held by ${holder}, for another ${showDuration(remainingMs)} unless it is renewed. The command was not run.`;
    return { outcome: "conflict", exitCode: conflictExitCode, message: text };
  }
  const outcome = isCoordError(error, "COORD_UNAVAILABLE")
    ? "unavailable"
    : isCoordError(error, "COORD_LEASE_LOST")
      ? "lost"
      : "failed";
  return { outcome, exitCode: exitCodeOf(error), message };
}

const nobody = { holder: "somebody", remainingMs: 0 };

/** The error may come from another copy of core, so its fields are looked at, not its class. */
function heldBy(error: object): { holder: string; remainingMs: number } {
  const { holder, remainingMs }: { holder?: unknown; remainingMs?: unknown } = error;
  return {
    holder: typeof holder === "string" && holder !== "" ? printable(holder) : nobody.holder,
    remainingMs: typeof remainingMs === "number" ? remainingMs : 0,
  };
}

async function runIn(
  { coord, defaults }: Store,
  key: string,
  command: [string, ...string[]],
  options: RunOptions,
): Promise<void> {
  const ttlMs = options.ttl ?? defaults.ttlMs ?? defaultTtlMs;
  const killAfterMs = killAfterOf(options.killAfter, ttlMs);
  const startedAtMs = Date.now();
  const beganMs = performance.now();
  let grantedMs: number | undefined;
  let endedMs: number | undefined;
  let fence: bigint | undefined;
  let report: Report;
  const interrupt = onInterrupt();
  try {
    const lease = {
      ttlMs,
      waitMs: options.wait ?? 0,
      signal: interrupt.signal,
      ...(options.atLeast !== undefined && { minHoldMs: options.atLeast }),
      ...(options.holder !== undefined && { holder: options.holder }),
    };
    const ended = await coord.withLease(key, lease, async (held) => {
      grantedMs = performance.now();
      ({ fence } = held);
      const env = { COORD_KEY: key, COORD_FENCE: String(held.fence) };
      const result = await supervise(held, { command, env, ttlMs, killAfterMs });
      endedMs = performance.now();
      return result;
    });
    report = reportOf(ended, command[0]);
    if (ended.leftBehind && !ended.stopped) {
      say(
        `the command left processes running. The lease has ended with the command: they are not protected by it.`,
      );
    }
  } catch (error) {
    report = reportOfError(error, key, options.conflictExitCode ?? exitCodes.conflict);
    if (report.outcome === "lost" && fence !== undefined)
      report = { ...report, message: `${report.message ?? ""} The command was ended.` };
  } finally {
    interrupt.dispose();
  }
  const waitedMs = (grantedMs ?? performance.now()) - beganMs;
  const ranMs = grantedMs === undefined || endedMs === undefined ? undefined : endedMs - grantedMs;
  const { outcome, message } = report;
  if (options.metricsFile !== undefined) {
    const run = { key, outcome, exitCode: report.exitCode, startedAtMs, waitedMs, ranMs };
    try {
      writeMetrics(options.metricsFile, run);
    } catch (error) {
      // What the command came to is the answer, with or without metrics of it.
      say(`the metrics could not be written: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const silent = options.quiet === true && outcome === "conflict";
  if (options.json === true) {
    const line = { key, ...report, fence, waitedMs: Math.round(waitedMs), ranMs: ranMs && Math.round(ranMs) };
    process.stderr.write(`${toJson(line)}\n`);
  } else if (message !== undefined && !silent) say(message);
  process.exitCode = report.exitCode;
  if (report.exitCode !== 0) throw new ExitError(report.exitCode, "");
}

export const runVerb = (): CommandUnknownOpts =>
  storeVerb("run", "run a command under a lease, if nobody else holds it", [
    "coord run nightly-report -- ./report.sh                 # one host of many; the others end with 75",
    "coord run nightly --at-least 60s -- ./report.sh         # for cron on hosts whose clocks differ",
    "coord run migrate --wait 5m -- npm run migrate          # one after the other",
    "coord run import --ttl 30s --kill-after 5s -- sh -c './import --fence $COORD_FENCE'",
    "coord run backup --quiet --conflict-exit-code 0 --metrics-file /var/lib/node_exporter/backup.prom -- ./backup",
  ])
    .argument("<key>", "what is locked")
    .argument("<command...>", "after --: the command and its arguments, which gets COORD_KEY and COORD_FENCE")
    .option(
      "--ttl <time>",
      "how long a silent holder keeps the lease (default: the config's, else 60s)",
      durationMs,
    )
    .option(
      "--wait <time>",
      "how long to wait while somebody else holds it, or forever (default: 0, one try)",
      waitMs,
    )
    .option("--at-least <time>", "keep others out for so long, however soon the command is done", durationMs)
    .option(
      "--kill-after <time>",
      "how long before the lease ends the command gets SIGTERM; SIGKILL follows at its end (default: 10s, or a third of the ttl)",
      durationMs,
    )
    .option("--conflict-exit-code <code>", "when somebody else holds it (default: 75)", exitCode)
    .option("--holder <text>", "what others see of this run (default: host and process id)")
    .option("--metrics-file <file>", "write metrics of this run for node_exporter's textfile collector")
    .option("-q, --quiet", "say nothing when somebody else holds it")
    .addHelpText(
      "after",
      `
The command runs in a process group of its own and gets the signals that coord gets. When the lease can't be
kept, or when coord itself is killed, the whole group gets SIGTERM and, at the end of the lease, SIGKILL.

Exit codes: the command's own, 128 + n when a signal ended it; 64 usage, 69 the store can't be reached, 70 the
lease was lost, 75 somebody else holds it, 78 no store is configured, 126 and 127 the command can't be started.`,
    )
    .action(async (key, command, options) => {
      const checked = commandAfterDashes("run", command);
      await withStore(options, (store) => runIn(store, key, checked, options));
    });
