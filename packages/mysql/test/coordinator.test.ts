import { createCoordinator } from "@coord/core";
import type { Coordinator } from "@coord/core";
import { start } from "@coord/test-fixtures";
import { afterAll, describe, expect, test } from "vitest";
import { mysqlBackend } from "../src/index.ts";
import { flavors, freshName } from "./harness.ts";

describe.each(flavors)(
  "core on %s",
  async (flavor) => {
    const server = await start("mysql", { flavor });
    const { namespace } = freshName();
    const coordinators = Array.from({ length: 3 }, () =>
      createCoordinator({ backend: mysqlBackend({ url: server.url }), namespace }),
    );
    await coordinators[0]?.setup();
    afterAll(async () => {
      await Promise.all(coordinators.map((coord) => coord.close({ graceMs: 1000 })));
      await server.stop();
    });

    test("of many at once in three processes one at a time is inside, each gets its turn, and fences rise", async () => {
      const fences: bigint[] = [];
      let inside = 0;
      const enter = (coord: Coordinator, holdMs: number): Promise<void> =>
        coord.withLease("till", { waitMs: 30_000 }, async (lease) => {
          inside += 1;
          expect(inside).toBe(1);
          fences.push(lease.fence);
          await new Promise((resolve) => setTimeout(resolve, holdMs));
          inside -= 1;
        });
      await Promise.all(
        coordinators.flatMap((coord) => [5, 40, 1, 30, 2, 0].map((holdMs) => enter(coord, holdMs))),
      );
      expect(fences).toHaveLength(18);
      expect(fences).toEqual(fences.toSorted((a, b) => (a < b ? -1 : 1)));
    });

    test("a waiter gets a lease of a second within moments of its release, not at the next poll", async () => {
      const [one, two] = coordinators;
      if (one === undefined || two === undefined) throw new Error("two coordinators");
      const delaysMs: number[] = [];
      for (let round = 0; round < 5; round++) {
        const held = await one.acquire("door");
        const waiting = two.acquire("door", { waitMs: 20_000 });
        await new Promise((resolve) => setTimeout(resolve, 400));
        await held.release();
        const releasedMs = performance.now();
        await (await waiting).release();
        delaysMs.push(performance.now() - releasedMs);
      }
      delaysMs.sort((a, b) => a - b);
      // Core polls every 2.5 to 7.5 s where there is push, so this is the push.
      expect(delaysMs[2]).toBeLessThan(1000);
    });

    test("a lease is renewed over its ttl, and once runs once", async () => {
      const [one, two] = coordinators;
      if (one === undefined || two === undefined) throw new Error("two coordinators");
      await one.withLease("long", { ttlMs: 1000 }, async (lease) => {
        await new Promise((resolve) => setTimeout(resolve, 2500));
        lease.assertHeld();
        expect(await two.tryAcquire("long")).toBeNull();
      });
      let runs = 0;
      const pay = (coord: Coordinator) =>
        coord.once("charge", { waitMs: 10_000 }, () => ({ paid: (runs += 1) }));
      const answers = await Promise.all([pay(one), pay(two), pay(one)]);
      expect(runs).toBe(1);
      expect(answers.map((answer) => answer.status)).toEqual(["completed", "completed", "completed"]);
    });
  },
  60_000,
);
