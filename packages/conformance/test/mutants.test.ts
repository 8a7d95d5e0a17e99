import assert from "node:assert/strict";
import { describe, expect, test, vi } from "vitest";
import { cases } from "../src/cases.ts";
import { runCase } from "../src/run.ts";
import { core } from "./mutants/core.ts";
import { election } from "./mutants/election.ts";
import { expiry } from "./mutants/expiry.ts";
import { faults, setup } from "./mutants/faults.ts";
import { fences } from "./mutants/fences.ts";
import { granting } from "./mutants/granting.ts";
import type { Mutant } from "./mutants/mutant.ts";
import { once } from "./mutants/once.ts";
import { overruling } from "./mutants/overruling.ts";
import { reading } from "./mutants/reading.ts";
import { releasing } from "./mutants/releasing.ts";
import { renewing } from "./mutants/renewing.ts";
import { sealing } from "./mutants/sealing.ts";
import { waking } from "./mutants/waking.ts";
import { simulatedHarness } from "./simulated-harness.ts";

const groups = {
  granting,
  fences,
  renewing,
  releasing,
  overruling,
  sealing,
  expiry,
  waking,
  reading,
  faults,
  setup,
  core,
  once,
  election,
};
// A mutant mostly waits: for what does not come.
vi.setConfig({ maxConcurrency: 16 });
const mutants: readonly Mutant[] = Object.values(groups).flat();
const modelId = "model/random-sequences";

/** What the case says of the mutant; `undefined` = it passed, and the mutant survived. */
async function verdict({ broken, breaks, hangs }: Mutant, id: string): Promise<string | undefined> {
  const one = cases.find((candidate) => candidate.id === id);
  assert.ok(one, `no case is called ${id}`);
  const harness = simulatedHarness(broken, breaks);
  const timing = { ...harness.timing, caseMs: hangs ? 4000 : 50_000 };
  const end = await runCase({ ...harness, timing }, one).then(
    (skipped) => ({ skipped }),
    (error: unknown) => ({ error }),
  );
  if ("skipped" in end) {
    assert.equal(end.skipped, undefined, "a case that is skipped kills nothing");
    return undefined;
  }
  const message = end.error instanceof Error ? end.error.message : "not an error";
  // A busy machine must not look like a find.
  return message.includes("did not end within") && !hangs ? undefined : message;
}

for (const [rule, own] of Object.entries(groups)) {
  // The cases of expiry change the clock of this process: one at a time.
  describe(`the suite, of ${rule},`, { concurrent: rule !== "expiry" }, () => {
    for (const mutant of own) {
      test(`finds that ${mutant.breaks}`, { timeout: 60_000 }, async () => {
        const survived: string[] = [];
        for (const id of mutant.kills) {
          if ((await verdict(mutant, id)) === undefined) survived.push(id);
        }
        expect(survived, `"${mutant.breaks}" survives`).toEqual([]);
      });
    }
  });
}

/** Broken steps that random sequences can't show: they need odd ids, far fences, long ttls, or a clean-up. */
const beyondTheModel = new Set([
  "grant ids are compared without case",
  "fences are the clock alone",
  "fences jump by a second where the clock is behind",
  "fences are numbers",
  "purgeAt does not look at the instant of the fence",
  "a ttl is an hour at the most",
  "purgeAt is kept in 32 bits",
]);

describe("the case of random sequences alone", () => {
  const { granting: first, fences: second, renewing: third, releasing: fourth, overruling: fifth } = groups;
  const steps = [first, second, third, fourth, fifth, expiry].flat();
  for (const mutant of steps) {
    if (mutant.broken.steps === undefined || beyondTheModel.has(mutant.breaks)) continue;
    test(`finds that ${mutant.breaks}`, { timeout: 60_000 }, async () => {
      expect(await verdict(mutant, modelId), `"${mutant.breaks}" survives`).toContain("with seed");
    });
  }
});

test("every case kills a mutant", () => {
  const killers = new Set([...mutants.flatMap(({ kills }) => kills), modelId]);
  // It shows that core keeps time by itself while no backend answers: nothing in a backend can break it.
  killers.add("core/deadline-while-paused");
  expect(cases.map(({ id }) => id).filter((id) => !killers.has(id))).toEqual([]);
});

test("no two mutants break the same in words, and there are more than 100", () => {
  expect(new Set(mutants.map(({ breaks }) => breaks)).size).toBe(mutants.length);
  expect(mutants.length).toBeGreaterThan(100);
});
