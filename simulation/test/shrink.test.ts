import { expect, it } from "vitest";
import { contractMutants } from "../src/mutants/contract.ts";
import { coreMutants } from "../src/mutants/core.ts";
import { hunt } from "../src/mutants/hunt.ts";
import { loadMutant } from "../src/mutants/load.ts";
import { onceMutants } from "../src/mutants/once.ts";
import { drawPlan } from "../src/plan.ts";
import { shrink } from "../src/shrink.ts";
import { outsideJobs } from "../src/world.ts";

/** What fits on a screen. */
const mostSteps = 40;

it.each([
  "the fence is not raised at a takeover",
  "assertHeld looks at a flag",
  "once: a claim is not sealed",
])(
  "a run that fails is reduced to what fits on a screen, and fails: %s",
  { timeout: 120_000 },
  async (name) => {
    const mutant = [...contractMutants, ...coreMutants, ...onceMutants].find((each) => each.name === name);
    const caught = mutant && (await hunt(mutant, 500));
    if (mutant === undefined || caught === undefined) throw new Error(`"${name}" is not found out`);
    const { rule } = caught.violation;
    const core = await loadMutant(mutant);
    const plan = drawPlan(caught.seed);
    const shrunk = await outsideJobs(() => shrink(plan, rule, core));
    expect(shrunk.violation?.rule).toBe(rule);
    expect(shrunk.plan.scripts.length).toBeLessThanOrEqual(plan.scripts.length);
    expect(shrunk.trace?.length).toBeLessThan(mostSteps);
    const again = await outsideJobs(() => shrink(plan, rule, core));
    expect(again.trace).toEqual(shrunk.trace);
  },
);
