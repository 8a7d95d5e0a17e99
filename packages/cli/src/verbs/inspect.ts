import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { ExitError, exitCodes } from "../exit.ts";
import { fenceTime, leaseLines } from "../lease-text.ts";
import { pairs, print, printJson } from "../terminal.ts";
import { storeVerb, withStore } from "../verb.ts";
import { kindOption } from "./ls.ts";

export const inspectVerb = (): CommandUnknownOpts =>
  storeVerb("inspect", "show what the store knows of a key", [
    "coord inspect nightly-report",
    "coord inspect nightly-report --json | jq -r .fence",
    "coord inspect scheduler --kind election",
  ])
    .argument("<key>", "as it was locked")
    .addOption(kindOption)
    .action(async (key, options) => {
      await withStore(options, async ({ coord }) => {
        const lease = await coord.inspect(key, { kind: options.kind });
        if (lease === null) {
          throw new ExitError(
            exitCodes.failed,
            `The store knows nothing of the ${options.kind} "${key}" in the namespace ${coord.namespace}: it was never held, or that is long ago.`,
          );
        }
        if (options.json === true) return printJson(lease);
        const lines = leaseLines(lease);
        const since = fenceTime(lease.fence);
        if (since !== undefined) lines.push(["granted", `${since}, by the store's clock`]);
        for (const line of pairs(lines)) print(line);
      });
    });
