import { cases, runCase } from "@coord/conformance";
import { expect, test, vi } from "vitest";
import type { GcsBucket } from "../src/index.ts";
import { openFakeStore } from "./fake-store.ts";
import { fakeHarness } from "./harness.ts";
import { mutants, spoiled } from "./mutants.ts";
import { ownChecks } from "./own-checks.ts";

// A busy machine may be slow.
vi.setConfig({ testTimeout: 60_000 });

/** Rejects if the check finds the backend at fault. */
async function check(id: string, wrap: (bucket: GcsBucket) => GcsBucket): Promise<void> {
  const own = ownChecks[id];
  if (own !== undefined) {
    const store = await openFakeStore();
    store.fake.strict = false;
    try {
      return await own(store, wrap);
    } finally {
      await store.close();
    }
  }
  const found = cases.find((one) => one.id === id);
  if (found === undefined) throw new TypeError(`no case and no check ${id}`);
  const reason = await runCase(fakeHarness(wrap, false), found);
  if (reason !== undefined) throw new TypeError(`${id} does not run: ${reason}`);
}

test.each(mutants)("$title is found out by $killer", async (mutant) => {
  let changed = 0;
  const wrap = spoiled(mutant, () => void (changed += 1));
  const fault: unknown = await check(mutant.killer, wrap).catch((error: unknown) => error);
  expect(changed).toBeGreaterThan(0);
  expect(fault).toBeInstanceOf(Error);
  expect(fault).not.toBeInstanceOf(TypeError);
});

test.each([...new Set(mutants.map(({ killer }) => killer))])(
  "%s finds no fault with the backend as it is",
  async (id) => {
    await expect(check(id, (bucket) => bucket)).resolves.toBeUndefined();
  },
);
