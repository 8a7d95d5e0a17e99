import { describe, expect, test } from "vitest";
import { cases, formatReport, runCase, runConformance } from "../src/index.ts";
import { memoryHarness } from "./memory-harness.ts";
import { simulatedHarness } from "./simulated-harness.ts";

const few = ["waking/by-release", "waking/killed-listener", "reading/none-is-null", "faults/paused"];
const only = ({ id }: { readonly id: string }): boolean => few.includes(id);

describe("a report", () => {
  test("says what ran, what was skipped and why, and what failed and how", async () => {
    const broken = { backend: () => ({ inspect: () => Promise.reject(new Error("no such table")) }) };
    const harness = {
      ...simulatedHarness(broken, "broken"),
      skip: { "waking/by-release": "has no wake-ups yet" },
    };
    const report = await runConformance(harness, { only });
    expect(formatReport(report)).toMatchInlineSnapshot(`
      "broken: 1 passed, 2 failed, 1 skipped

        waking   1 passed, 1 skipped
        reading  1 failed
        faults   1 failed

      Failed
        reading/none-is-null
          a name without a record is null, and reading makes none
            Error: no such table
        faults/paused
          with the server paused every call is unknown within its limit, never free and never held
            AssertionError: inspect while the store is out of reach must end with COORD_UNAVAILABLE, got Error: no such table

      Skipped
        waking/by-release
          a release by another client, and by the same one, wakes a waiter
            has no wake-ups yet
      "
    `);
  });

  test("names the hook that a skipped case needs", async () => {
    const report = await runConformance(memoryHarness("injected"), { only });
    expect(report.results.map(({ id, status, reason }) => [id, status, reason])).toEqual([
      ["waking/by-release", "passed", undefined],
      ["waking/killed-listener", "skipped", "needs killConnections"],
      ["reading/none-is-null", "passed", undefined],
      ["faults/paused", "skipped", "needs pause"],
    ]);
  });

  test("is plain data", async () => {
    const report = await runConformance(memoryHarness("injected"), { only });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });

  test("has each case as passed, failed or skipped", { timeout: 60_000 }, async () => {
    const { results, passed, failed, skipped } = await runConformance(memoryHarness("injected"));
    expect(results.map(({ id }) => id)).toEqual(cases.map(({ id }) => id));
    expect(passed + failed + skipped).toBe(cases.length);
    expect(results.filter(({ status }) => status === "failed")).toEqual([]);
  });
});

describe("a harness", () => {
  test("that skips an unknown case, or without a reason, is refused", async () => {
    const memory = memoryHarness("injected");
    const unknown = { ...memory, skip: { "reading/pages": "none" } };
    await expect(runConformance(unknown)).rejects.toThrow("no case has that id");
    const silent = { ...memory, skip: { "reading/paging": " " } };
    await expect(runConformance(silent)).rejects.toThrow("without a reason");
  });

  test("is closed again for each case, also when the case fails", async () => {
    let open = 0;
    const memory = memoryHarness("injected");
    const harness = {
      ...memory,
      async open() {
        open += 1;
        const opened = await memory.open();
        const backend = { ...opened.backend, inspect: () => Promise.reject(new Error("down")) };
        return { ...opened, backend, close: async () => void (open -= 1) };
      },
    };
    const [one] = cases.filter(({ id }) => id === "reading/none-is-null");
    await expect(one && runCase(harness, one)).rejects.toThrow("down");
    expect(open).toBe(0);
  });
});

test("ids of cases are unique and stand under their rule", () => {
  expect(new Set(cases.map(({ id }) => id)).size).toBe(cases.length);
  for (const { id, rule } of cases) expect(id).toMatch(new RegExp(`^${rule}/[a-z0-9-]+$`));
});
