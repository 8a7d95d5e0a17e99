import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { Option } from "@commander-js/extra-typings";
import type { LeaseInfo } from "@coord/core";
import { leaseHead, leaseRow } from "../lease-text.ts";
import { print, printJson, progress, say, table } from "../terminal.ts";
import { storeVerb, withStore } from "../verb.ts";

export const kinds = ["lease", "election", "execution", "candidate"] as const;
const states = ["held", "free", "lapsed"] as const;

export const kindOption: Option<
  "--kind <kind>",
  undefined,
  "lease",
  undefined,
  false,
  (typeof kinds)[number]
> = new Option("--kind <kind>", "which names").choices(kinds).default("lease" as const);

export const lsVerb = (): CommandUnknownOpts =>
  storeVerb("ls", "list leases: who holds what, and for how long", [
    "coord ls                              # what is held now",
    "coord ls --state lapsed               # whose holders fell silent",
    "coord ls --all --prefix invoice:",
    "coord ls --json | jq -r 'select(.remainingMs < 5000) | .key'",
  ])
    .option("--prefix <text>", "keys that begin with it", "")
    .addOption(new Option("--state <state>", "which state (default: held)").choices(states))
    .option("--all", "free and lapsed ones too")
    .addOption(kindOption)
    .action(async (options) => {
      const { prefix, kind, all, json } = options;
      const state = options.state ?? (all === true ? undefined : "held");
      await withStore(options, async ({ coord }) => {
        const bar = progress("leases read:");
        const found: LeaseInfo[] = [];
        for await (const lease of coord.list({ prefix, kind, state })) {
          if (json === true) {
            const { checkpoint: _, ...rest } = lease;
            printJson(rest);
            continue;
          }
          found.push(lease);
          bar.at(found.length);
        }
        bar.end();
        if (json === true) return;
        if (found.length === 0)
          return say(
            `no ${state ?? ""} ${kind} ${prefix === "" ? "" : `with the prefix ${prefix} `}in ${coord.namespace}`.replaceAll(
              / +/g,
              " ",
            ),
          );
        for (const line of table(leaseHead, found.map(leaseRow))) print(line);
      });
    });
