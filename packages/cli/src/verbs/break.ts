import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { Option } from "@commander-js/extra-typings";
import { CoordError } from "@coord/core";
import { showDuration } from "../duration.ts";
import { ExitError, exitCodes, UsageError } from "../exit.ts";
import { leaseLines } from "../lease-text.ts";
import { operator } from "../operator.ts";
import { confirm, pairs, print, printJson } from "../terminal.ts";
import { fence, storeVerb, withStore } from "../verb.ts";

export const breakVerb = (): CommandUnknownOpts =>
  storeVerb("break", "take a lease away from its holder", [
    "coord break nightly-report                                    # shows it, asks, and breaks what it showed",
    "coord break nightly-report --fence 1763742001234567 --yes     # in a script: only if it is still that grant",
    "coord break nightly-report --now --note 'host is gone'        # its holder is known to be dead",
    "coord break scheduler --kind election                         # a leader that hangs",
  ])
    .argument("<key>", "what is locked")
    .option("--fence <number>", "break it only if this is its fence (coord inspect shows it)", fence)
    .option("--now", "let others in at once: only for a holder that is known to be dead")
    .option("--by <name>", "who does it (default: you)")
    .option("--note <text>", "why")
    .option("--yes", "do not ask; needs --fence, so that it can't hit somebody newer")
    .addOption(
      new Option("--kind <kind>", "what it is")
        .choices(["lease", "election"] as const)
        .default("lease" as const),
    )
    .addHelpText(
      "after",
      `
Without --now others are let in at the holder's own deadline: until then it may still be at work, and it finds out
by its next renewal. With --now a holder that is alive after all works beside the next one, and only fences protect.`,
    )
    .action(async (key, options) => {
      const { kind, now = false, by = operator(), note, yes, json } = options;
      if (yes === true && options.fence === undefined)
        throw new UsageError("--yes needs --fence: the fence that you saw (coord inspect shows it).");
      await withStore(options, async ({ coord }) => {
        const found = await coord.inspect(key, { kind });
        if (found === null || found.state !== "held") {
          throw new ExitError(
            exitCodes.failed,
            `Nobody holds the ${kind} "${key}" in the namespace ${coord.namespace}: there is nothing to break.`,
          );
        }
        if (options.fence !== undefined && options.fence !== found.fence) {
          throw new CoordError(
            "COORD_MOVED",
            `"${key}" was not broken: its fence is ${found.fence} now, you gave ${options.fence}. Inspect it again and decide anew.`,
          );
        }
        if (json !== true) for (const line of pairs(leaseLines(found))) print(line);
        const entry = now ? "at once" : `in ${showDuration(found.remainingMs)}`;
        await confirm(`Take it away from its holder? Others are let in ${entry}.`, yes);
        const broken = await coord.breakLease(key, { fence: found.fence, by, note, now, kind });
        if (json === true)
          return printJson({
            key,
            kind,
            broken: found.fence,
            holder: found.holder,
            fence: broken.fence,
            by,
            note,
            now,
          });
        print(`Broken by ${by}. Its fence is ${broken.fence} now; others are let in ${entry}.`);
      });
    });
