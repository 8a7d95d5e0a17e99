import { parseArgs } from "node:util";
import type { Plan } from "./plan.ts";
import { shrink } from "./shrink.ts";
import { simulate } from "./simulate.ts";
import type { Outcome } from "./simulate.ts";
import { outsideJobs } from "./world.ts";

function whole(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`--${name} must be a whole number from 0, got ${text}.`);
  process.exit(2);
}

const describe = ({ shape, scripts }: Plan): string =>
  [
    JSON.stringify(shape),
    ...scripts.map(({ atMs, describe: what }) => `${atMs.toFixed(0).padStart(8)}  ${what}`),
  ].join("\n");

const show = ({ plan, trace = [] }: Outcome): void => console.log(`${describe(plan)}\n${trace.join("\n")}`);

/** Runs seed after seed; prints those that fail, and the shortest way to each failure. */
export async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string", default: "1000" },
      from: { type: "string", default: "0" },
      /** Prints all that happens in each run, as it was drawn. */
      trace: { type: "boolean", default: false },
      /** Reduces every seed that fails, not only the first of each rule. */
      shrink: { type: "boolean", default: false },
    },
  });

  const from = whole("from", values.from);
  const seeds = whole("seeds", values.seeds);
  const began = performance.now();
  const failed = new Map<string, number[]>();
  let grants = 0;
  for (let seed = from; seed < from + seeds; seed += 1) {
    const outcome = await outsideJobs(() => simulate(seed, { trace: values.trace }));
    grants += outcome.grants;
    if (values.trace) show(outcome);
    const { violation } = outcome;
    if (violation === undefined) continue;
    const { rule, what } = violation;
    const others = failed.get(rule);
    failed.set(rule, [...(others ?? []), seed]);
    console.log(`\nseed ${seed} breaks ${rule}: ${what}`);
    if (others !== undefined && !values.shrink) continue;
    const shrunk = await outsideJobs(() => shrink(outcome.plan, rule));
    console.log(`The shortest way to it that was found, ${shrunk.trace?.length ?? 0} steps:`);
    show(shrunk);
  }
  const tookMs = performance.now() - began;
  for (const [rule, list] of failed)
    console.log(`${list.length} seeds break ${rule}: ${list.slice(0, 8).join(" ")}`);
  const rate = `${(tookMs / Math.max(1, seeds)).toFixed(2)} ms a seed`;
  console.log(`${seeds} seeds from ${from}, ${grants} grants, ${rate}`);
  if (failed.size > 0) process.exitCode = 1;
}
