import { expect, it } from "vitest";
import { simulate } from "../src/simulate.ts";
import { outsideJobs } from "../src/world.ts";

const seeds = Number(process.env["COORD_SEEDS"] ?? 1500);

it(`finds nothing wrong with core in ${seeds} seeds`, { timeout: 3_600_000 }, async () => {
  const failed: unknown[] = [];
  let grants = 0;
  for (let seed = 0; seed < seeds; seed += 1) {
    const outcome = await outsideJobs(() => simulate(seed));
    grants += outcome.grants;
    if (outcome.violation !== undefined) failed.push({ seed, violation: outcome.violation });
  }
  expect(failed).toEqual([]);
  expect(grants).toBeGreaterThan(seeds);
});

it("runs the same for the same seed", { timeout: 60_000 }, async () => {
  for (let seed = 0; seed < 20; seed += 1) {
    const once = await outsideJobs(() => simulate(seed, { trace: true }));
    const again = await outsideJobs(() => simulate(seed, { trace: true }));
    expect(again.trace).toEqual(once.trace);
  }
});
