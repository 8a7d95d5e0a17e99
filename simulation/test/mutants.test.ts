import { describe, expect, it } from "vitest";
import { contractMutants } from "../src/mutants/contract.ts";
import { coreMutants } from "../src/mutants/core.ts";
import { electionMutants } from "../src/mutants/election.ts";
import { hunt } from "../src/mutants/hunt.ts";
import { onceMutants } from "../src/mutants/once.ts";

/** Within so many seeds each mistake must be found; `src/mutants/cli.ts` hunts longer. */
const huntSeeds = 500;

/** Found by more seeds than this run takes: see README.md. */
const late = new Set(["once: an outcome is not repeated", "once: a probe is believed whatever came of it"]);

describe.each([
  ["the contract", contractMutants],
  ["leases", coreMutants],
  ["once", onceMutants],
  ["elections", electionMutants],
])("a mistake in %s is found out", (_, mutants) => {
  it.each(mutants.filter(({ name }) => !late.has(name)).map((mutant) => [mutant.name, mutant] as const))(
    "%s",
    { timeout: 120_000 },
    async (_name, mutant) => {
      expect(await hunt(mutant, huntSeeds)).toBeDefined();
    },
  );
});
