import assert from "node:assert/strict";
import { isCoordError } from "@coord/core";
import type { Grant } from "@coord/core";
import { start } from "@coord/test-fixtures";
import { afterAll, describe, expect, test } from "vitest";
import { mysqlBackend } from "../src/index.ts";
import {
  acquireRequest,
  call,
  flavors,
  freshId,
  freshName,
  onClock,
  poolOf,
  releaseRequest,
  rewriting,
} from "./harness.ts";
import type { Rewrite } from "./harness.ts";
import { compareWithLaw } from "./model.ts";
import { mutants } from "./mutants.ts";
import type { Check } from "./mutants.ts";

const RUNS = 12;
/** What the statements do as they are, `model.test.ts` looks at for longer. */
const SOUND_RUNS = 3;
const STEPS = 300;

/** The texts are the same on both servers, so one is enough unless a statement is changed. */
const chosen = flavors.filter((flavor) =>
  [flavor, "all"].includes(process.env["COORD_MUTANTS_ON"] ?? "mysql"),
);

describe.each(chosen)("%s: each broken statement is found out", async (flavor) => {
  const server = await start("mysql", { flavor });
  const pool = poolOf(server.url);
  const backendWith = (change: Rewrite) => mysqlBackend({ client: rewriting(pool, change), wake: false });
  await backendWith((sql) => sql).setup(call());
  afterAll(async () => {
    await pool.end();
    await server.stop();
  });

  async function granted(change: Rewrite, ttlMs = 60_000): Promise<Grant> {
    const request = acquireRequest(freshName(), { ttlMs });
    const answer = await backendWith(change).acquire(request, call());
    assert.ok(answer.outcome === "granted");
    return { name: request.name, grantId: request.grantId, fence: answer.fence };
  }

  const checks: Readonly<Record<Check, (change: Rewrite, runs: number) => Promise<void>>> = {
    /** Answers and records are those of the law, on a clock of the test's own. */
    law: async (change, runs) => {
      for (let seed = 1; seed <= runs; seed++) {
        await pool.query("DELETE FROM coord_lease");
        const clock = { nowUs: 1_763_725_844_000_123n };
        const atTime = onClock(clock);
        await compareWithLaw(seed, STEPS, clock, [backendWith((sql) => atTime(change(sql)))]);
      }
    },
    /** A record in somebody's transaction is unknown at once. */
    locked: async (change) => {
      const backend = backendWith(change);
      const grants = [await granted(change), await granted(change)];
      const connection = await pool.getConnection();
      await connection.beginTransaction();
      try {
        await connection.query("SELECT 1 FROM coord_lease WHERE ns=? FOR UPDATE", [
          grants[0]?.name.namespace,
        ]);
        const plain = grants.map((grant) => ({ ...grant, ttlMs: 70_000 }));
        const outcomes = await backend.renew(plain, call(1000));
        assert.deepEqual(outcomes, ["unknown", "renewed"]);
        const saves = plain.map((request) => ({ ...request, payload: "p", payloadSeq: 1 }));
        assert.deepEqual(await backend.renew(saves, call(1000)), ["unknown", "renewed"]);
      } finally {
        await connection.rollback();
        connection.release();
      }
    },
    /** Who verified within a transaction holds the lease until it ends; nobody else can verify. */
    guarded: async (change) => {
      const backend = backendWith(change);
      const connection = await pool.getConnection();
      const tx = {
        query: (question: Parameters<typeof connection.query>[0] & { sql: string }) =>
          connection.query({ ...question, sql: change(question.sql) }),
        destroy: () => connection.destroy(),
      };
      const grant = await granted(change, 400);
      try {
        await connection.beginTransaction();
        const within = backend.within(tx);
        await assert.rejects(within.verify({ grant: { ...grant, grantId: freshId() } }), (error) =>
          isCoordError(error, "COORD_LEASE_LOST"),
        );
        await within.verify({ grant });
        await new Promise((resolve) => setTimeout(resolve, 450));
        const takeover = backend.acquire(acquireRequest(grant.name), call());
        const waits = new Promise((resolve) => setTimeout(resolve, 150, "waits"));
        assert.equal(await Promise.race([takeover.then(() => "taken over"), waits]), "waits");
        await connection.commit();
        assert.equal((await takeover).outcome, "granted");
        const over = await granted(change);
        await backend.release(releaseRequest(over), call());
        await connection.beginTransaction();
        await assert.rejects(within.verify({ grant: over }), (error) =>
          isCoordError(error, "COORD_LEASE_LOST"),
        );
      } finally {
        await connection.rollback();
        connection.release();
      }
    },
  };

  test.each(Object.entries(checks))(
    "the statements as they are pass the check %s",
    async (_, check) => {
      await expect(check((sql) => sql, SOUND_RUNS)).resolves.toBeUndefined();
    },
    120_000,
  );

  test.each(mutants)(
    "$rule",
    async ({ from, to, check = "law" }) => {
      let matched = false;
      const change: Rewrite = (sql) => {
        const changed = sql.replace(from, to);
        matched ||= changed !== sql;
        return changed;
      };
      await expect(checks[check](change, RUNS)).rejects.toThrow();
      expect(matched).toBe(true);
    },
    120_000,
  );
});
