import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import type { Diagnosis } from "@coord/core";
import { exitCodes, ExitError } from "../exit.ts";
import { pairs, paint, print, printJson } from "../terminal.ts";
import { storeVerb, withStore } from "../verb.ts";

const samples = 3;
/** From there on a lease's times read wrong to people, and `--at-least` on cron hosts stops making sense. */
const offsetWorthAWordMs = 1000;

const marks = {
  ok: () => paint("green", "ok     "),
  warning: () => paint("yellow", "warning"),
  error: () => paint("red", "error  "),
} as const;

interface Clock {
  /** The fastest of the samples. */
  readonly roundTripMs: number;
  /** How far the store's clock is ahead of this host's; known to within half of the round trip. */
  readonly offsetMs: number;
}

/** The fastest request says most about the clock. */
function clockOf(diagnoses: readonly Diagnosis[]): Clock {
  const measured = diagnoses.map(({ clock: { storeMs, beforeMs, afterMs } }) => ({
    roundTripMs: afterMs - beforeMs,
    offsetMs: storeMs - (beforeMs + afterMs) / 2,
  }));
  return measured.reduce((best, each) => (each.roundTripMs < best.roundTripMs ? each : best));
}

function clockFinding({ roundTripMs, offsetMs }: Clock): Diagnosis["findings"][number] {
  const message = `The store's clock is ${Math.abs(Math.round(offsetMs))} ms ${offsetMs < 0 ? "behind" : "ahead of"} this host's, give or take ${Math.ceil(roundTripMs / 2)} ms.`;
  if (Math.abs(offsetMs) < offsetWorthAWordMs + roundTripMs / 2) return { level: "ok", message };
  const remedy =
    "Synchronise both (NTP). No lease depends on it, but times that people read do, and cron jobs that start by their host's clock.";
  return { level: "warning", message, remedy };
}

export const doctorVerb = (): CommandUnknownOpts =>
  storeVerb("doctor", "check what the store must be like, on the live server, with remedies", [
    "coord doctor",
    "coord doctor --json | jq '.findings[] | select(.level != \"ok\")'",
  ])
    .addHelpText(
      "after",
      "\nExit code 1 when there is an error among the findings, 69 when the store can't be reached.",
    )
    .action(async (options) => {
      await withStore(options, async ({ coord, url, from }) => {
        const { info } = coord.backend;
        const diagnoses: Diagnosis[] = [];
        while (diagnoses.length < samples) diagnoses.push(await coord.diagnose());
        const clock = clockOf(diagnoses);
        const findings = [...(diagnoses.at(-1)?.findings ?? []), clockFinding(clock)];
        const failed = findings.some(({ level }) => level === "error");
        if (options.json === true)
          printJson({ backend: info.name, url, from, namespace: coord.namespace, ...clock, findings });
        else {
          const facts = pairs([
            ["store", url],
            ["found in", from],
            ["backend", `${info.name}, ttl from ${info.minTtlMs ?? 250} ms`],
            ["namespace", coord.namespace],
            ["round trip", `${clock.roundTripMs} ms, the fastest of ${samples}`],
            ["node", process.version],
          ]);
          for (const line of facts) print(line);
          print("");
          for (const { level, message, remedy } of findings) {
            print(`${marks[level]()}  ${message}`);
            if (remedy !== undefined) print(`         ${paint("bold", "→")} ${remedy}`);
          }
        }
        if (failed) throw new ExitError(exitCodes.failed, options.json === true ? "" : "There are errors.");
      });
    });

export const pruneVerb = (): CommandUnknownOpts =>
  storeVerb("prune", "delete records that are past their time, as long-lived processes do by themselves", [
    "coord prune           # from cron, where nothing but coord run uses the store",
  ]).action(async (options) => {
    await withStore(options, async ({ coord }) => {
      const pruned = await coord.prune();
      if (options.json === true) printJson({ pruned });
      else print(`${pruned} records deleted.`);
    });
  });
