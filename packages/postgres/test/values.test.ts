import { start } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { acquireRequest, call, freshName, releaseRequest, rewriting } from "./harness.ts";

const server = await start("postgres");
const pool = new pg.Pool({ connectionString: server.url });
const backend = postgresBackend({ client: pool, listen: false });
await backend.setup(call());
afterAll(async () => {
  await pool.end();
  await server.stop();
});

test.each([
  ["U+0000", "a\0b"],
  ["a lone surrogate", "a\uD800b"],
])("%s in a payload or a key is refused before anything is sent, in a batch too", async (_, payload) => {
  const refused = { code: "COORD_INVALID_ARGUMENT" };
  const name = freshName();
  await expect(backend.acquire(acquireRequest(name, { payload }), call())).rejects.toMatchObject(refused);
  await expect(backend.inspect({ ...name, key: payload }, call())).rejects.toMatchObject(refused);
  const renewal = { name, grantId: "g", fence: 1n, ttlMs: 1000, payload, payloadSeq: 1 };
  await expect(backend.renew([renewal], call())).rejects.toMatchObject(refused);
  expect(await backend.inspect(name, call())).toBeNull();
});

test.each([
  ["empty", ""],
  ["of every plane", "é\u{1F512}\u{10FFFF}\uFFFF\u0001"],
  ["an escaped NUL", JSON.stringify("a\0b")],
  ["of 320 KiB", "ä".repeat(163_840)],
  ["that looks like an array", '{"a",NULL,\\"b}'],
])("a payload %s comes back as it was", async (_, payload) => {
  const request = acquireRequest(freshName(), { payload });
  const result = await backend.acquire(request, call());
  expect(result).toMatchObject({ outcome: "granted", payload });
  if (result.outcome === "refused") return;
  const grant = { name: request.name, grantId: request.grantId, fence: result.fence };
  const outcomes = await backend.renew(
    [{ ...grant, ttlMs: 9000, payload: `${payload}!`, payloadSeq: 1 }],
    call(),
  );
  expect(outcomes).toEqual(["renewed"]);
  expect((await backend.inspect(request.name, call()))?.payload).toBe(`${payload}!`);
  await backend.release(releaseRequest(grant), call());
});

test("a fence far in the future is counted up from there, to the last digit", async () => {
  const name = freshName();
  const request = acquireRequest(name, { ttlMs: 1 });
  await backend.acquire(request, call());
  const far = 2n ** 62n + 1n;
  await pool.query("UPDATE coord.lease SET fence = $1 WHERE namespace = $2", [String(far), name.namespace]);
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(await backend.acquire(acquireRequest(name), call())).toMatchObject({
    outcome: "granted",
    fence: far + 1n,
  });
  expect(await backend.inspect(name, call())).toMatchObject({ fence: far + 1n });
});

test("fences are exact whatever the program's own parsers make of bigints and dates", async () => {
  const types = {
    getTypeParser: (oid: number) => (value: string | Buffer) => {
      if (oid === 20 || oid === 701) return Number(value);
      return oid === 16 ? value === "t" : String(value);
    },
  };
  const parsing = new pg.Pool({
    connectionString: server.url,
    types,
    options: "-c DateStyle=German -c extra_float_digits=0",
  });
  const odd = postgresBackend({ client: parsing, listen: false });
  const request = acquireRequest(freshName());
  const result = await odd.acquire(request, call());
  const seen = await backend.inspect(request.name, call());
  expect(result).toMatchObject({ outcome: "granted", fence: seen?.fence });
  expect(await odd.inspect(request.name, call())).toMatchObject({
    state: "held",
    expiresAt: seen?.expiresAt,
  });
  await parsing.end();
});

test("a ttl or a fence beyond what PostgreSQL counts is refused by it, not rounded", async () => {
  const refused = { code: "COORD_INVALID_ARGUMENT" };
  await expect(backend.acquire(acquireRequest(freshName(), { ttlMs: 1e18 }), call())).rejects.toMatchObject(
    refused,
  );
  await expect(
    backend.acquire(acquireRequest(freshName(), { ifFence: 2n ** 64n }), call()),
  ).rejects.toMatchObject(refused);
});

test("a replica's answer is none, and its connection is dropped", async () => {
  const replica = new pg.Pool({ connectionString: server.url });
  const client = rewriting(replica, (text) => text.replaceAll("pg_is_in_recovery()", "true"));
  const lagging = postgresBackend({ client, listen: false });
  const name = freshName();
  await backend.acquire(acquireRequest(name), call());
  const refused = { code: "COORD_UNAVAILABLE", notDone: true };
  await expect(lagging.inspect(name, call())).rejects.toMatchObject(refused);
  await expect(lagging.list({ ...name, prefix: "", limit: 1 }, call())).rejects.toMatchObject(refused);
  expect(replica.totalCount).toBe(0);
  await replica.end();
});

test("a single client is enough", async () => {
  const client = new pg.Client(server.url);
  await client.connect();
  const single = postgresBackend({ client });
  const request = acquireRequest(freshName());
  expect(await single.acquire(request, call())).toMatchObject({ outcome: "granted" });
  expect(await backend.inspect(request.name, call())).toMatchObject({ state: "held" });
  await single.close();
  await client.end();
});

test("cycles and renewals rewrite records in their page, without touching an index", async () => {
  const { namespace } = freshName();
  const grants = Array.from({ length: 300 }, (_, index) => acquireRequest({ namespace, key: `k${index}` }));
  const cycle = async (): Promise<void> => {
    for (const { name } of grants) {
      const request = acquireRequest(name);
      const result = await backend.acquire(request, call());
      if (result.outcome === "refused") throw new Error("refused");
      const grant = { name, grantId: request.grantId, fence: result.fence };
      await backend.renew([{ ...grant, ttlMs: 90_000 }], call());
      await backend.release(releaseRequest(grant), call());
    }
  };
  await cycle();
  const stats = async () => {
    const text =
      "SELECT n_tup_upd::int AS all, n_tup_hot_upd::int AS hot FROM pg_stat_user_tables WHERE relid = 'coord.lease'::regclass";
    await Promise.all(
      Array.from({ length: pool.totalCount }, () => pool.query("SELECT pg_stat_force_next_flush()")),
    );
    return (await pool.query(text)).rows[0];
  };
  const before = await stats();
  await cycle();
  const after = await stats();
  expect(after.all - before.all).toBeGreaterThan(800);
  expect((after.hot - before.hot) / (after.all - before.all)).toBeGreaterThan(0.95);
});
