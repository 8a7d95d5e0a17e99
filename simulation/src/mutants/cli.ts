import { parseArgs } from "node:util";
import { contractMutants } from "./contract.ts";
import { coreMutants } from "./core.ts";
import { hunt } from "./hunt.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seeds: { type: "string", default: "500" } },
});
const only = positionals[0] ?? "";
for (const mutant of [...contractMutants, ...coreMutants]) {
  if (!mutant.name.includes(only)) continue;
  const caught = await hunt(mutant, Number(values.seeds));
  console.log(
    caught === undefined
      ? `SURVIVES  ${mutant.name}`
      : `seed ${String(caught.seed).padStart(4)}  ${mutant.name}: ${caught.violation.rule}: ${caught.violation.what}`,
  );
}
