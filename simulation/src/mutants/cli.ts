import { parseArgs } from "node:util";
import { contractMutants } from "./contract.ts";
import { coreMutants } from "./core.ts";
import { electionMutants } from "./election.ts";
import { hunt } from "./hunt.ts";
import { onceMutants } from "./once.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seeds: { type: "string", default: "500" } },
});
const only = positionals[0] ?? "";
for (const mutant of [...contractMutants, ...coreMutants, ...onceMutants, ...electionMutants]) {
  if (!mutant.name.includes(only)) continue;
  const began = performance.now();
  try {
    const caught = await hunt(mutant, Number(values.seeds));
    const tookMs = (performance.now() - began).toFixed(0);
    console.log(
      caught === undefined
        ? `SURVIVES  ${mutant.name} (${tookMs} ms)`
        : `seed ${String(caught.seed).padStart(4)}  ${mutant.name} (${tookMs} ms): ${caught.violation.rule}: ${caught.violation.what}`,
    );
  } catch (error) {
    console.log(`STALE     ${mutant.name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
