import pg from "pg";
import { start } from "@coord/test-fixtures";
import { afterAll, describe, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { call } from "./harness.ts";
import { compareWithModel, onClock } from "./model.ts";

const steps = Number(process.env["COORD_STEPS"] ?? 2000);

describe.each([18, 15] as const)("PostgreSQL %i", async (version) => {
  const server = await start("postgres", { version });
  const pools = [
    new pg.Pool({ connectionString: server.url }),
    new pg.Pool({ connectionString: server.url }),
  ];
  afterAll(async () => {
    await Promise.all(pools.map((pool) => pool.end()));
    await server.stop();
  });

  test(
    `answers and records of ${steps} random steps are those of the pure functions`,
    async () => {
      const clock = { nowMs: 1_763_725_844_000 };
      const [one, two] = pools.map((pool) =>
        postgresBackend({ client: onClock(clock, pool), listen: false, prepare: false }),
      );
      if (one === undefined || two === undefined) throw new Error("two clients are needed");
      await one.setup(call());
      const seed = Number(process.env["COORD_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
      const perRun = 500;
      for (let run = 0; run * perRun < steps; run++) {
        // The table is emptied, as clean-up looks at all namespaces.
        await pools[0]?.query("TRUNCATE coord.lease");
        await compareWithModel(seed + run, perRun, clock, [one, two], "model");
      }
      expect(steps).toBeGreaterThan(0);
    },
    120_000 + steps * 20,
  );
});
