import { assertFenced, createCoordinator, isCoordError, openCoordinator } from "@coord/core";
import { start, startProxy } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { until } from "./harness.ts";

const server = await start("postgres");
const pool = new pg.Pool({ connectionString: server.url });
const coord = createCoordinator({ backend: postgresBackend({ client: pool }), namespace: "billing" });
await coord.setup();
await pool.query("CREATE TABLE invoice (id int PRIMARY KEY, state text, fence bigint NOT NULL DEFAULT 0)");
await pool.query("INSERT INTO invoice VALUES (42, 'new')");
afterAll(async () => {
  await coord.close();
  await pool.end();
  await server.stop();
});

test("the example of the README works, and a stale holder's write is refused", async () => {
  const write = "UPDATE invoice SET state = $1, fence = $2 WHERE id = $3 AND fence <= $2";
  const lease = await coord.acquire("invoice:42");
  await coord.breakLease("invoice:42", { fence: lease.fence, by: "test", now: true });
  await coord.withLease("invoice:42", async (newer) => {
    const done = await pool.query(write, ["sent", newer.fence, 42]);
    assertFenced(newer, done.rowCount);
  });
  const stale = await pool.query(write, ["lost", lease.fence, 42]);
  expect(() => assertFenced(lease, stale.rowCount)).toThrow(
    expect.objectContaining({ code: "COORD_STALE_FENCE" }),
  );
  await lease.release().catch(() => {});
  expect((await pool.query("SELECT state FROM invoice")).rows).toEqual([{ state: "sent" }]);
});

test("an idle waiter costs less than a statement in two seconds, and is served soon after the release", async () => {
  const proxy = await startProxy(server.url);
  const waitingPool = new pg.Pool({ connectionString: proxy.url });
  const waiting = createCoordinator({
    backend: postgresBackend({ client: waitingPool }),
    namespace: "billing",
    cleanUp: false,
  });
  const held = await coord.acquire("busy", { ttlMs: 60_000 });
  const waiter = waiting.acquire("busy", { waitMs: 60_000 });
  await until("it waits", () => proxy.roundTrips > 0);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const before = proxy.roundTrips;
  const windowMs = 6000;
  await new Promise((resolve) => setTimeout(resolve, windowMs));
  expect(proxy.roundTrips - before).toBeLessThan(windowMs / 2000);
  const startMs = performance.now();
  await held.release();
  const lease = await waiter;
  expect(performance.now() - startMs).toBeLessThan(1500);
  await lease.release();
  await waiting.close();
  await waitingPool.end();
  await proxy.stop();
}, 30_000);

test("with a pool of one, leases are renewed, waited for and handed on without deadlock", async () => {
  const one = new pg.Pool({ connectionString: server.url, max: 1 });
  const single = createCoordinator({ backend: postgresBackend({ client: one }), namespace: "single" });
  let inside = 0;
  const turns = Array.from({ length: 10 }, () =>
    single.withLease("turn", { ttlMs: 1500, waitMs: 20_000 }, async (lease) => {
      expect(++inside).toBe(1);
      await lease.renew();
      inside--;
    }),
  );
  await Promise.all(turns);
  await single.close();
  await one.end();
}, 30_000);

test("a URL is enough, and the pool made from it is closed", async () => {
  const byUrl = await openCoordinator(
    { url: server.url },
    { backends: { postgres: (url) => postgresBackend({ url }) } },
  );
  await byUrl.setup();
  await byUrl.withLease("by-url", async (lease) => {
    expect(lease.fence).toBeGreaterThan(0n);
  });
  await byUrl.close();
  const open = async () => {
    const text =
      "SELECT count(*)::int AS open FROM pg_stat_activity WHERE application_name IN ('coord', 'coord-listen')";
    return (await pool.query(text)).rows[0].open;
  };
  await until("its connections are gone", async () => (await open()) === 0);
  await expect(
    byUrl.backend.inspect(
      { namespace: "a", key: "b" },
      { signal: AbortSignal.timeout(1000), timeoutMs: 1000 },
    ),
  ).rejects.toSatisfy((error) => isCoordError(error, "COORD_UNAVAILABLE"));
});
