import { afterAll, describe, expect, test, vi } from "vitest";
import type { Case } from "./case.ts";
import { cases } from "./cases.ts";
import { defaultCaseMs } from "./context.ts";
import type { Harness } from "./harness.ts";
import { checkSkips, defaultConcurrency, runCase } from "./run.ts";

/**
 * Registers every case as a vitest test. A case that does not apply is shown as skipped with its reason.
 * It sets vitest's `maxConcurrency` for this file, as the harness says how many run side by side.
 */
export function describeBackend(harness: Harness): void {
  checkSkips(harness);
  vi.setConfig({ maxConcurrency: harness.concurrency ?? defaultConcurrency });
  const seen = new Set<string>();
  const limitMs = (harness.timing?.caseMs ?? defaultCaseMs) + 10_000;
  const register = (one: Case, concurrent: boolean): void => {
    // oxlint-disable-next-line vitest/expect-expect -- cases assert with node:assert, as they run elsewhere too
    test(`${one.id}: ${one.title}`, { timeout: limitMs, concurrent }, async ({ skip }) => {
      seen.add(one.id);
      const reason = await runCase(harness, one);
      if (reason !== undefined) skip(reason);
    });
  };
  describe(`${harness.name} keeps the contract`, () => {
    for (const one of cases) if (!one.alone) register(one, true);
    for (const one of cases) if (one.alone) register(one, false);
    test("every case has run, or was skipped with its reason", () => {
      expect(cases.map(({ id }) => id).filter((id) => !seen.has(id))).toEqual([]);
    });
    afterAll(async () => await harness.close?.());
  });
}
