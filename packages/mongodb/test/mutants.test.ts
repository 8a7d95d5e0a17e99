import { AssertionError } from "node:assert";
import { cases, runCase } from "@coord/conformance";
import { isCoordError } from "@coord/core";
import { describe, expect, test } from "vitest";
import { mongodbBackend } from "../src/index.ts";
import { freshNamespace, within } from "./calls.ts";
import { mongodbHarness } from "./harness.ts";
import { type LeaseDocument, playAll } from "./model.ts";
import { mutants, type Planned } from "./mutants.ts";
import { rewriting } from "./rewriting.ts";
import { missing, type Store, useStore } from "./store.ts";

/** Whether a rule was found broken, or a record that is none; an error of the server would prove nothing. */
function isVerdict(error: unknown): boolean {
  if (error instanceof AssertionError) return true;
  if (isCoordError(error, "COORD_CONFIGURATION")) return error.cause === undefined;
  return error instanceof Error && isVerdict(error.cause);
}

/** The first killer that notices; its error, or undefined for a survivor. */
async function killerOf(
  mutant: Planned,
  { server, client, db }: Store,
): Promise<{ killer: string; error: unknown } | undefined> {
  let changed = 0;
  const trying = async (killer: string): Promise<void> => {
    if (killer === "model") {
      const changing = rewriting(db, mutant);
      const one = mongodbBackend({ db: changing.db });
      const raw = db.collection<LeaseDocument>("coord_leases", { useBigInt64: true });
      await playAll({ backends: [one, one], raw }, freshNamespace(), 1200, 7).finally(() => {
        changed += changing.changed;
      });
      return;
    }
    const one = cases.find(({ id }) => id === killer);
    if (one === undefined) throw new Error(`no case ${killer}`);
    const made: { readonly changed: number }[] = [];
    const harness = mongodbHarness(server, client, {
      change: (each) => {
        const changing = rewriting(each, mutant);
        made.push(changing);
        return changing.db;
      },
    });
    await runCase(harness, one).finally(() => {
      for (const each of made) changed += each.changed;
    });
  };
  for (const killer of mutant.killers) {
    try {
      await trying(killer);
    } catch (error) {
      if (changed === 0) throw new Error(`${mutant.find} was not found in any statement`, { cause: error });
      return { killer, error };
    }
  }
  if (changed === 0) throw new Error(`${mutant.find} was not found in any statement`);
  return undefined;
}

describe.skipIf(missing)("a statement with one rule broken is found out", () => {
  const store = useStore();

  test.each(mutants.map((mutant) => [mutant.breaks, mutant] as const))(
    "%s",
    { timeout: 60_000 },
    async (_, mutant) => {
      await mongodbBackend({ db: store().db }).setup(within());
      const found = await killerOf(mutant, store());
      expect(found, "survived all of its killers").toBeDefined();
      expect(found?.error).toSatisfy(isVerdict);
    },
  );
});
