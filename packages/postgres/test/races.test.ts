import { UnavailableError } from "@coord/core";
import { start } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, describe, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { acquireRequest, call, freshName, overruleRequest, until } from "./harness.ts";
import { lockedIsUnknown, oneEnd, oneFence, oneWinner, repeat, risingFences } from "./races.ts";

describe.each([18, 15] as const)("PostgreSQL %i", async (version) => {
  const server = await start("postgres", { version });
  const isolations = ["read committed", "repeatable read", "serializable"] as const;
  const pools = isolations.map(
    (isolation) =>
      new pg.Pool({
        connectionString: server.url,
        options: `-c default_transaction_isolation=${isolation.replace(" ", "\\ ")}`,
      }),
  );
  const [pool] = pools;
  if (pool === undefined) throw new Error("no pool");
  const backend = postgresBackend({ client: pool, listen: false });
  await backend.setup(call());
  afterAll(async () => {
    await Promise.all(pools.map((each) => each.end()));
    await server.stop();
  });

  test.each(["new", "released", "lapsed", "handed-over"] as const)(
    "of 30 acquirers of a %s name one is granted, and the others see its record",
    async (before) => {
      await expect(repeat(10, () => oneWinner(backend, before))).resolves.toBeUndefined();
    },
  );

  test("30 copies of one acquire get one fence", async () => {
    await expect(repeat(10, () => oneFence(backend))).resolves.toBeUndefined();
  });

  test("30 copies of one overrule get one fence", async () => {
    const request = overruleRequest(freshName(), 0n);
    const results = await Promise.all(Array.from({ length: 30 }, () => backend.overrule(request, call())));
    const fences = results.map((result) => (result.outcome === "overruled" ? result.fence : 0n));
    expect(new Set(fences).size).toBe(1);
    expect(fences[0]).toBeGreaterThan(0n);
  });

  test("of releases, overrules and a hand-over at once, one ends the grant", async () => {
    await expect(repeat(20, () => oneEnd(backend))).resolves.toBeUndefined();
  });

  test("fences rise over 300 grants by 10 clients while clean-up deletes the record", async () => {
    await expect(risingFences(backend, 10, 300)).resolves.toBeUndefined();
  }, 60_000);

  test.each(isolations.slice(1))(
    "under %s still one of 30 is granted, and the others lose or are told nothing",
    async (isolation) => {
      const client = pools[isolations.indexOf(isolation)];
      if (client === undefined) throw new Error("no pool");
      const strict = postgresBackend({ client, listen: false });
      const name = freshName();
      const attempts = Array.from({ length: 30 }, () => strict.acquire(acquireRequest(name), call()));
      const settled = await Promise.allSettled(attempts);
      const granted = settled.filter(
        (each) => each.status === "fulfilled" && each.value.outcome === "granted",
      );
      expect(granted).toHaveLength(1);
      const failures = settled.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
      const isUndone = (error: unknown): boolean => error instanceof UnavailableError && error.notDone;
      expect(failures.filter((error) => !isUndone(error))).toEqual([]);
      expect((await strict.diagnose(call())).findings).toContainEqual(
        expect.objectContaining({ level: "warning", message: expect.stringContaining(isolation) }),
      );
    },
  );

  test("a record locked by a transaction is unknown to renew, at once, and delays no other", async () => {
    const lock = async (key: string, namespace: string) => {
      const client = await pool.connect();
      await client.query("BEGIN");
      await client.query("SELECT FROM coord.lease WHERE namespace = $1 AND key = $2 FOR UPDATE", [
        namespace,
        key,
      ]);
      return async () => {
        await client.query("ROLLBACK");
        client.release();
      };
    };
    await expect(lockedIsUnknown(backend, lock)).resolves.toBeUndefined();
  });

  test("a batch may name a lease twice, and a thousand others", async () => {
    const { namespace } = freshName();
    const requests = Array.from({ length: 1000 }, (_, index) =>
      acquireRequest({ namespace, key: `k${index}` }),
    );
    const results = await Promise.all(requests.map((request) => backend.acquire(request, call())));
    const renewals = requests.map(({ name, grantId }, index) => {
      const result = results[index];
      const fence = result?.outcome === "granted" ? result.fence : 0n;
      return { name, grantId, fence: index === 500 ? 1n : fence, ttlMs: 1000 };
    });
    const outcomes = await backend.renew([...renewals, ...renewals.slice(0, 2)], call());
    expect(outcomes).toHaveLength(1002);
    expect(outcomes.flatMap((outcome, index) => (outcome === "renewed" ? [] : [[index, outcome]]))).toEqual([
      [500, "lost"],
    ]);
  });

  test("an acquire that waits for a lock ends in the server too when its time is over", async () => {
    const name = freshName();
    await backend.acquire(acquireRequest(name, { ttlMs: 1 }), call());
    const client = await pool.connect();
    await client.query("BEGIN");
    await client.query("SELECT FROM coord.lease WHERE namespace = $1 FOR KEY SHARE", [name.namespace]);
    const late = backend.acquire(acquireRequest(name), { signal: AbortSignal.timeout(5000), timeoutMs: 200 });
    await expect(late).rejects.toMatchObject({ code: "COORD_UNAVAILABLE" });
    const waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%coord%'";
    await until("the server has given up", async () => (await pool.query(waits)).rowCount === 0);
    await client.query("COMMIT");
    client.release();
    expect(await backend.inspect(name, call())).toMatchObject({ state: "lapsed" });
  });
});
