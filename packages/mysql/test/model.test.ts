import { start } from "@coord/test-fixtures";
import { afterAll, describe, expect, test } from "vitest";
import { mysqlBackend } from "../src/index.ts";
import { call, flavors, onClock, poolOf, rewriting } from "./harness.ts";
import { compareWithLaw } from "./model.ts";

const steps = Number(process.env["COORD_STEPS"] ?? 1200);
const firstSeed = Number(process.env["COORD_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const stepsPerRun = 300;

describe.each(flavors)("%s", async (flavor) => {
  const server = await start("mysql", { flavor });
  // Two clients that connect as differently as people do.
  const pools = [
    poolOf(server.url, { timezone: "+05:45", supportBigNumbers: true, bigNumberStrings: true }),
    poolOf(server.url, { charset: "latin1", flags: ["-FOUND_ROWS"], dateStrings: true, rowsAsArray: true }),
  ];
  afterAll(async () => {
    await Promise.all(pools.map((pool) => pool.end()));
    await server.stop();
  });

  test(
    `the answers and records of ${steps} random steps are those of the law`,
    { timeout: 120_000 + steps * 30 },
    async () => {
      const clock = { nowUs: 1_763_725_844_000_123n };
      const clients = pools.map((pool) => mysqlBackend({ client: rewriting(pool, onClock(clock)) }));
      await clients[0]?.setup(call());
      for (let run = 0; run * stepsPerRun < steps; run++) {
        // Clean-up looks at all namespaces, so what an earlier run left must go.
        await pools[0]?.query("DELETE FROM coord_lease");
        await compareWithLaw(firstSeed + run, stepsPerRun, clock, clients);
      }
      expect(steps).toBeGreaterThan(0);
    },
  );
});
