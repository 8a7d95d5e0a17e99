import { type Grant, isCoordError, type Name } from "@coord/core";
import { start } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { acquireRequest, call, freshName, overruleRequest, releaseRequest } from "./harness.ts";

const server = await start("postgres");
const pool = new pg.Pool({ connectionString: server.url });
const backend = postgresBackend({ client: pool, listen: false });
await backend.setup(call());
await pool.query("CREATE TABLE written (key text PRIMARY KEY)");

afterAll(async () => {
  await pool.end();
  await server.stop();
});

async function hold(name: Name, ttlMs = 60_000, retainMs = 3_600_000): Promise<Grant> {
  const request = acquireRequest(name, { ttlMs, retainMs });
  const result = await backend.acquire(request, call());
  if (result.outcome === "refused") throw new Error("refused");
  return { name, grantId: request.grantId, fence: result.fence };
}

async function inTransaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const result = await work(client);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

/** Whether the promise is still open after a while in which it could have ended. */
async function isWaiting(promise: Promise<unknown>): Promise<boolean> {
  const tick = new Promise((resolve) => setTimeout(resolve, 300, "waiting"));
  return (await Promise.race([promise.then(() => "over"), tick])) === "waiting";
}

test("a takeover waits for the transaction that verified, even when the lease lapses in it", async () => {
  const name = freshName();
  const grant = await hold(name, 400, 0);
  let takeover: Promise<unknown> = Promise.resolve();
  await inTransaction(async (client) => {
    await backend.within(client).verify({ grant });
    await new Promise((resolve) => setTimeout(resolve, 500));
    takeover = backend.acquire(acquireRequest(name), call());
    expect(await isWaiting(takeover)).toBe(true);
    expect(await backend.prune({ limit: 1000 }, call())).toBe(0);
    await client.query("INSERT INTO written VALUES ($1)", [name.namespace]);
  });
  expect(await takeover).toMatchObject({ outcome: "granted" });
});

test("an overrule waits for the transaction that verified", async () => {
  const name = freshName();
  const grant = await hold(name);
  let overrule: Promise<unknown> = Promise.resolve();
  await inTransaction(async (client) => {
    await backend.within(client).verify({ grant });
    overrule = backend.overrule(overruleRequest(name, grant.fence), call());
    expect(await isWaiting(overrule)).toBe(true);
  });
  expect(await overrule).toMatchObject({ outcome: "overruled" });
});

test("the holder's own renewal passes the transaction that verified", async () => {
  const grant = await hold(freshName());
  await inTransaction(async (client) => {
    await backend.within(client).verify({ grant });
    expect(await backend.renew([{ ...grant, ttlMs: 60_000 }], call())).toEqual(["renewed"]);
  });
});

test("verify throws when the lease is released, overruled, or another's", async () => {
  const grant = await hold(freshName());
  const verify = (each: Grant) => inTransaction((client) => backend.within(client).verify({ grant: each }));
  await expect(verify(grant)).resolves.toBeUndefined();
  await expect(verify({ ...grant, fence: grant.fence + 1n })).rejects.toMatchObject({
    code: "COORD_LEASE_LOST",
  });
  await expect(verify({ ...grant, grantId: "other" })).rejects.toMatchObject({ code: "COORD_LEASE_LOST" });
  await backend.release(releaseRequest(grant), call());
  await expect(verify(grant)).rejects.toMatchObject({ code: "COORD_LEASE_LOST", fence: grant.fence });
});

test("a release commits and rolls back with the transaction, by a function as by a client", async () => {
  const name = freshName();
  const grant = await hold(name);
  const rolledBack = inTransaction(async (client) => {
    const query = (text: string, values: unknown[]) => client.query(text, values);
    const done = await backend.within(query).release(releaseRequest(grant, { payload: "gone" }));
    expect(done).toEqual({ outcome: "released" });
    throw new Error("changed my mind");
  });
  await expect(rolledBack).rejects.toThrow("changed my mind");
  expect(await backend.inspect(name, call())).toMatchObject({ state: "held" });
  await inTransaction(async (client) => {
    await client.query("SET LOCAL lock_timeout = '7s'");
    await backend.within(client).release(releaseRequest(grant, { payload: "kept", sealed: true }));
    const { rows } = await client.query("SHOW lock_timeout");
    expect(rows).toEqual([{ lock_timeout: "7s" }]);
  });
  expect(await backend.inspect(name, call())).toMatchObject({ state: "free", payload: "kept", sealed: true });
  const again = await inTransaction((client) => backend.within(client).release(releaseRequest(grant)));
  expect(again).toMatchObject({ outcome: "released", record: { payload: "kept" } });
});

test("statements after an error in the transaction say that nothing was done", async () => {
  const grant = await hold(freshName());
  const failing = inTransaction(async (client) => {
    await client.query("SELECT 1 / 0").catch(() => {});
    await backend.within(client).verify({ grant });
  });
  await expect(failing).rejects.toSatisfy((error) => isCoordError(error, "COORD_UNAVAILABLE"));
});
