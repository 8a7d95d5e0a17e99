import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { Option } from "@commander-js/extra-typings";
import { isCoordError, notDone } from "@coord/core";
import type { Execution, OnceResult } from "@coord/core";
import { durationMs, showDuration, waitMs } from "../duration.ts";
import { ExitError, exitCodes } from "../exit.ts";
import { onInterrupt } from "../interrupt.ts";
import { keep, outputOf, writeThrough } from "../output.ts";
import type { Kept } from "../output.ts";
import type { Store, StoreOptions } from "../store.ts";
import { supervise } from "../supervise.ts";
import { print, printable, say, toJson } from "../terminal.ts";
import { commandAfterDashes, storeVerb, withStore } from "../verb.ts";
import { killAfterOf } from "./run.ts";

const defaultTtlMs = 60_000;
const defaultMaxTimeMs = 86_400_000;
const choices = ["final", "uncertain", "retryable"] as const;

interface RunOnceOptions extends StoreOptions {
  readonly ttl?: number | undefined;
  readonly wait?: number | undefined;
  readonly maxTime?: number | undefined;
  readonly killAfter?: number | undefined;
  readonly keepFor?: number | undefined;
  readonly onFailure?: (typeof choices)[number] | undefined;
  readonly input?: string | undefined;
  readonly output?: boolean | undefined;
  readonly holder?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What a run that did not come to an answer throws, and what becomes of its record. */
class NoAnswer extends ExitError {}

/** Runs the command under the claim; its answer is what is recorded. */
async function runOf(
  execution: Execution,
  command: [string, ...string[]],
  options: RunOnceOptions & { readonly ttlMs: number; readonly killAfterMs: number },
): Promise<Kept> {
  const { ttlMs, killAfterMs } = options;
  const env = {
    COORD_KEY: execution.key,
    COORD_FENCE: String(execution.fence),
    COORD_IDEMPOTENCY_KEY: execution.idempotencyKey,
    COORD_ATTEMPT: String(execution.attempt),
  };
  const output = keep(options.output ?? true);
  const onOutput = async (chunk: Buffer): Promise<void> => {
    output.add(chunk);
    await writeThrough(chunk);
  };
  const ended = await supervise(execution, { command, env, ttlMs, killAfterMs, onOutput });
  const { exitCode, signal } = ended;
  if (ended.failed !== undefined)
    throw notDone(new NoAnswer(exitCode, `${command[0]} could not be started: ${ended.failed}`));
  if (ended.stopped) {
    throw new NoAnswer(
      exitCodes.lost,
      "The claim could not be kept: the command was ended, and nobody knows how far it came.",
    );
  }
  if (signal !== null)
    throw new NoAnswer(exitCode, `${signal} ended the command, and nobody knows how far it came.`);
  if (ended.leftBehind) say("the command left processes running; what they do is not part of the record.");
  if (exitCode !== 0 && options.onFailure === "retryable")
    throw notDone(
      new NoAnswer(exitCode, `The command failed with ${exitCode}; the next call runs it again.`),
    );
  if (exitCode !== 0 && options.onFailure === "uncertain")
    throw new NoAnswer(
      exitCode,
      `The command failed with ${exitCode}, and whether it was done is uncertain.`,
    );
  return output.answer(exitCode);
}

/** The recorded answer again: its output and its exit code. */
function replay(key: string, response: unknown, wanted: boolean): number {
  const answer = outputOf(response);
  if (answer === undefined) {
    // Executed by a program, or resolved by hand: its response is all there is.
    if (wanted && response !== undefined) print(toJson(response));
    return exitCodes.ok;
  }
  if (!wanted) return answer.exitCode;
  if (answer.output !== undefined) process.stdout.write(answer.output);
  else if (answer.notKept !== undefined) {
    throw new ExitError(
      exitCodes.data,
      `"${key}" has been executed, with exit code ${answer.exitCode}, but its output (${answer.notKept}) was not kept. Use --no-output where only the exit code matters.`,
    );
  }
  return answer.exitCode;
}

const howToResolve = (key: string, fence: bigint): string =>
  `Find out what happened (coord executions show ${key}), then: coord executions resolve ${key} --fence ${fence} --as completed|not-done|failed`;

/** Says why there is no answer. */
function noAnswer(result: Exclude<OnceResult<Kept>, { status: "completed" }>): ExitError {
  if (result.status === "uncertain") {
    return new ExitError(
      exitCodes.uncertain,
      `"${result.key}" began and nobody knows how it ended: it is not run again. ${howToResolve(result.key, result.fence)}`,
    );
  }
  const { key, holder = "somebody", remainingMs } = result;
  return new ExitError(
    exitCodes.conflict,
    `"${key}" is being executed by ${printable(holder)}, whose claim lasts for another ${showDuration(remainingMs)} unless it is renewed.`,
  );
}

function exitOf(result: OnceResult<Kept>, options: RunOnceOptions): number {
  if (result.status !== "completed") throw noAnswer(result);
  if (!result.replayed) return result.response.exitCode;
  return replay(result.key, result.response, options.output ?? true);
}

async function runOnce(
  { coord, defaults }: Store,
  key: string,
  command: [string, ...string[]],
  options: RunOnceOptions,
): Promise<void> {
  const ttlMs = options.ttl ?? defaults.ttlMs ?? defaultTtlMs;
  const killAfterMs = killAfterOf(options.killAfter, ttlMs);
  const interrupt = onInterrupt();
  const plan = {
    input: options.input === undefined ? { command: [...command] } : { input: options.input },
    ttlMs,
    maxHoldMs: Math.max(ttlMs, options.maxTime ?? defaultMaxTimeMs),
    waitMs: options.wait ?? 0,
    signal: interrupt.signal,
    ...(options.keepFor !== undefined && { retainMs: options.keepFor }),
    ...(options.holder !== undefined && { holder: options.holder }),
  };
  let result: OnceResult<Kept>;
  try {
    result = await coord.once(key, plan, (_, execution) =>
      runOf(execution, command, { ...options, ttlMs, killAfterMs }),
    );
  } catch (error) {
    if (isCoordError(error, "COORD_ONCE_INPUT_DIFFERS")) {
      throw new ExitError(
        exitCodes.data,
        `"${key}" was executed with another command or --input. Use another key, or the same --input each time where the command may differ.`,
      );
    }
    if (error instanceof NoAnswer) throw new ExitError(error.exitCode, `"${key}": ${error.message}`);
    throw error;
  } finally {
    interrupt.dispose();
  }
  const exitCode = exitOf(result, options);
  if (options.json === true && result.status === "completed") {
    const { replayed, fence, attempt } = result;
    process.stderr.write(`${toJson({ key, status: "completed", exitCode, replayed, fence, attempt })}\n`);
  }
  if (exitCode !== 0) throw new ExitError(exitCode, "");
}

export const onceVerb = (): CommandUnknownOpts =>
  storeVerb("once", "run a command at most once; later calls get its output and exit code again", [
    "coord once charge-2026-11 -- ./charge-cards.sh",
    "coord once deploy-v42 --wait 10m -- ./deploy.sh v42      # others wait, and get the same answer",
    "coord once welcome-42 --on-failure retryable -- ./send-mail 42",
    "coord once import-7 --input 'sha256:9f2c' --keep-for 90d -- ./import 7",
  ])
    .argument("<key>", "what is done once")
    .argument(
      "<command...>",
      "after --: the command, which gets COORD_KEY, COORD_FENCE, COORD_IDEMPOTENCY_KEY and COORD_ATTEMPT",
    )
    .option(
      "--ttl <time>",
      "how long a silent process keeps its claim (default: the config's, else 60s)",
      durationMs,
    )
    .option("--wait <time>", "how long to wait while somebody else runs it, or forever (default: 0)", waitMs)
    .option("--max-time <time>", "how long the command may take (default: 24h)", durationMs)
    .option("--kill-after <time>", "as in coord run", durationMs)
    .option("--keep-for <time>", "how long the answer is kept, from 1h (default: 30d)", durationMs)
    .addOption(
      new Option(
        "--on-failure <what>",
        "what an exit code other than 0 means: the answer, nobody knows, or not done",
      )
        .choices(choices)
        .default("final" as const),
    )
    .option("--input <text>", "what the key stands for, instead of the command; another one is refused")
    .option("--no-output", "keep and replay the exit code alone")
    .option("--holder <text>", "what others see of this run (default: host and process id)")
    .addHelpText(
      "after",
      `
Standard output is kept up to 128 KiB and replayed; standard error is not. A command that a signal ended, or that
coord had to end, is uncertain: it is not run again until somebody decides (coord executions resolve).

Exit codes: the command's own, also when replayed; 64 usage, 65 the key was used with another command, or its
output was not kept, 69 the store can't be reached, 70 the claim was lost, 75 somebody else runs it now, 76 it is
uncertain how it ended, 78 no store is configured.`,
    )
    .action(async (key, command, options) => {
      const checked = commandAfterDashes("once", command);
      await withStore(options, (store) => runOnce(store, key, checked, options));
    });
