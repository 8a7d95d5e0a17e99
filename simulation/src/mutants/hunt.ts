import { simulate } from "../simulate.ts";
import type { Violation } from "../simulate.ts";
import { outsideJobs } from "../world.ts";
import { loadMutant } from "./load.ts";
import type { Mutant } from "./load.ts";

export interface Caught {
  readonly seed: number;
  readonly violation: Violation;
}

/** The first seed that finds the mutant out; `undefined` if it survives them all. */
export async function hunt(mutant: Mutant, seeds: number, from = 0): Promise<Caught | undefined> {
  const core = await loadMutant(mutant);
  for (let seed = from; seed < from + seeds; seed += 1) {
    const violation = await outsideJobs(() => {
      try {
        return simulate(seed, { core }).violation;
      } catch (error) {
        return { rule: "errors", what: String(error), atMs: 0 };
      }
    });
    if (violation !== undefined) return { seed, violation };
  }
  return undefined;
}
