import { after, describe, it } from "node:test";
import type { Case } from "./case.ts";
import { cases } from "./cases.ts";
import { defaultCaseMs } from "./context.ts";
import type { Harness } from "./harness.ts";
import { checkSkips, defaultConcurrency, runCase } from "./run.ts";

/**
 * Registers every case with `node:test`. A case that does not apply is shown as skipped with its reason.
 */
export function describeBackend(harness: Harness): void {
  checkSkips(harness);
  const seen = new Set<string>();
  const timeout = (harness.timing?.caseMs ?? defaultCaseMs) + 10_000;
  const register = (one: Case): void => {
    void it(`${one.id}: ${one.title}`, { timeout }, async (test) => {
      seen.add(one.id);
      const reason = await runCase(harness, one);
      if (reason !== undefined) test.skip(reason);
    });
  };
  void describe(`${harness.name} keeps the contract`, { concurrency: 1 }, () => {
    void describe("side by side", { concurrency: harness.concurrency ?? defaultConcurrency }, () => {
      for (const one of cases) if (!one.alone) register(one);
    });
    void describe("one by one", { concurrency: 1 }, () => {
      for (const one of cases) if (one.alone) register(one);
    });
    void it("every case has run, or was skipped with its reason", () => {
      const left = cases.filter(({ id }) => !seen.has(id));
      if (left.length > 0) throw new Error(`neither run nor skipped: ${left.map(({ id }) => id).join(", ")}`);
    });
    after(async () => await harness.close?.());
  });
}
