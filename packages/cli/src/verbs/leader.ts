import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import type { CandidateInfo, LeaderInfo } from "@coord/core";
import { showDuration } from "../duration.ts";
import { exitCodes, ExitError } from "../exit.ts";
import { onInterrupt } from "../interrupt.ts";
import { pairs, paint, print, printable, printJson, table } from "../terminal.ts";
import { storeVerb, withStore } from "../verb.ts";

function candidateRow({ state, version, lastSeenMs, since, holder }: CandidateInfo): string[] {
  return [
    state === "leader" ? paint("green", state) : state,
    printable(version ?? "-"),
    since.toISOString(),
    `${showDuration(lastSeenMs)} ago`,
    printable(holder),
  ];
}

const candidateHead = ["STATE", "VERSION", "SINCE", "SEEN", "CANDIDATE"] as const;

function printLeader(leader: LeaderInfo): void {
  const lines = pairs([
    ["leader", printable(leader.holder)],
    ["term", String(leader.fence)],
    ["ends in", `${showDuration(leader.remainingMs)}, unless it is renewed`],
  ]);
  for (const line of lines) print(line);
}

export const leaderVerb = (): CommandUnknownOpts =>
  storeVerb("leader", "who leads an election, and who else stands", [
    "coord leader scheduler",
    "coord leader scheduler --json | jq -r .leader.holder",
    "coord leader scheduler --follow           # a line at each change",
    "coord break scheduler --kind election     # take the leadership away",
  ])
    .argument("<name>", "of the election")
    .option("--follow", "go on, with a line at each change")
    .addHelpText(
      "after",
      "\nExit code 1 when nobody leads. Candidates are listed if they stand with a status.",
    )
    .action(async (name, options) => {
      await withStore(options, async ({ coord }) => {
        const election = coord.elect(name);
        if (options.follow === true) {
          const { signal, dispose } = onInterrupt();
          for await (const leader of election.observe({ signal })) {
            const at = new Date().toISOString();
            if (options.json === true) printJson({ at, leader });
            else
              print(
                `${at} ${leader === null ? "nobody leads" : `${printable(leader.holder)} leads, term ${leader.fence}`}`,
              );
          }
          return dispose();
        }
        const [leader, candidates] = await Promise.all([election.leader(), election.candidates()]);
        if (options.json === true) printJson({ name, leader, candidates });
        else {
          if (leader !== null) printLeader(leader);
          if (candidates.length > 0)
            for (const line of table(candidateHead, candidates.map(candidateRow))) print(line);
        }
        if (leader === null)
          throw new ExitError(
            exitCodes.failed,
            `Nobody leads "${name}" in the namespace ${coord.namespace}.`,
          );
      });
    });
