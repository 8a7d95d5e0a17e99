import { parseArgs } from "node:util";
import { simulate } from "./simulate.ts";
import { outsideJobs } from "./world.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "0" },
    trace: { type: "boolean" },
  },
});
const from = Number(values.from);
const seeds = Number(values.seeds);
const began = performance.now();
let failed = 0;
let grants = 0;
const rules = new Map<string, number[]>();
for (let seed = from; seed < from + seeds; seed += 1) {
  const outcome = await outsideJobs(() => simulate(seed, { trace: values.trace ?? false }));
  grants += outcome.grants;
  if (values.trace) {
    for (const s of outcome.plan.scripts) console.log(s.atMs.toFixed(0), s.describe);
    console.log(JSON.stringify(outcome.plan.shape));
    console.log(outcome.trace?.join("\n"));
  }
  if (outcome.violation) {
    failed += 1;
    const list = rules.get(outcome.violation.rule) ?? [];
    list.push(seed);
    rules.set(outcome.violation.rule, list);
    if (list.length < 4) console.log(seed, outcome.violation);
  }
}
const took = performance.now() - began;
for (const [rule, list] of rules) console.log(rule, list.length, list.slice(0, 8).join(" "));
console.log(`${seeds} seeds, ${failed} failed, ${grants} grants, ${(took / seeds).toFixed(2)} ms a seed`);
