import type { Grant, Name, Subscription } from "@coord/core";
import { type Proxy, start, startPgBouncer, startProxy } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, afterEach, expect, test } from "vitest";
import { postgresBackend, type PostgresBackend } from "../src/index.ts";
import { acquireRequest, call, freshName, overruleRequest, releaseRequest, until } from "./harness.ts";

const server = await start("postgres");
const proxy: Proxy = await startProxy(server.url);
const direct = new pg.Pool({ connectionString: server.url });
const holder = postgresBackend({ client: direct, listen: false });
await holder.setup(call());
const opened: { close(): Promise<unknown> }[] = [];

afterEach(async () => {
  await proxy.heal();
  for (const each of opened.splice(0).toReversed()) await each.close();
});
afterAll(async () => {
  await direct.end();
  await proxy.stop();
  await server.stop();
});

/** A backend that listens through the proxy on a connection of its own, apart from its statements. */
function listening(): PostgresBackend {
  const pool = new pg.Pool({ connectionString: server.url });
  const backend = postgresBackend({ client: pool, listen: { url: proxy.url } });
  opened.push({ close: () => pool.end() }, backend);
  return backend;
}

async function hold(name: Name, backend = holder): Promise<Grant> {
  const request = acquireRequest(name);
  const result = await backend.acquire(request, call());
  if (result.outcome === "refused") throw new Error(`refused: ${result.reason}`);
  return { name, grantId: request.grantId, fence: result.fence };
}

async function watch(
  backend: PostgresBackend,
  name: Name,
): Promise<{ wakes: () => number; subscription: Subscription }> {
  let wakes = 0;
  const subscription = await backend.watch?.(name, () => void wakes++, call());
  if (subscription === undefined) throw new Error("the backend does not watch");
  opened.push(subscription);
  return { wakes: () => wakes, subscription };
}

test("a release wakes who waits for that name, and nobody else", async () => {
  const backend = listening();
  const [name, other] = [freshName("a"), freshName("b")];
  const grant = await hold(name);
  await hold({ ...other, namespace: name.namespace });
  const mine = await watch(backend, name);
  const others = await watch(backend, { ...other, namespace: name.namespace });
  expect(mine.wakes()).toBe(0);
  await holder.release(releaseRequest(grant), call());
  await until("the release wakes", () => mine.wakes() > 0);
  expect(others.wakes()).toBe(0);
});

test("an overrule wakes when it frees the name, and only then", async () => {
  const backend = listening();
  const name = freshName();
  const grant = await hold(name);
  const { wakes } = await watch(backend, name);
  const waits = await holder.overrule(overruleRequest(name, grant.fence), call());
  if (waits.outcome === "moved") throw new Error("moved");
  expect(wakes()).toBe(0);
  await holder.overrule(overruleRequest(name, waits.fence, { now: true }), call());
  await until("the overrule wakes", () => wakes() > 0);
});

test("a name that is free or has no record wakes at once", async () => {
  const backend = listening();
  const none = await watch(backend, freshName());
  expect(none.wakes()).toBe(1);
  const name = freshName();
  await holder.release(releaseRequest(await hold(name)), call());
  expect((await watch(backend, name)).wakes()).toBe(1);
});

test("who waited before there was a record is woken by its release, after one refusal", async () => {
  const backend = listening();
  const name = freshName();
  const { wakes } = await watch(backend, name);
  const grant = await hold(name);
  const before = wakes();
  expect(await backend.acquire(acquireRequest(name), call())).toMatchObject({ reason: "held" });
  const marked = async () =>
    (await direct.query("SELECT wanted_until FROM coord.lease WHERE namespace = $1", [name.namespace]))
      .rows[0].wanted_until !== null;
  await until("the mark is left", marked);
  expect(wakes()).toBe(before);
  await holder.release(releaseRequest(grant), call());
  await until("the release wakes", () => wakes() > before);
});

test("clean-up spares a record that somebody waits for", async () => {
  const backend = listening();
  const name = freshName();
  const grant = await hold(name);
  await watch(backend, name);
  await holder.release(releaseRequest(grant, { retainMs: 0 }), call());
  await holder.prune({ limit: 1000 }, call());
  expect(await holder.inspect(name, call())).not.toBeNull();
});

test("a dropped connection says so, comes back by itself, and wakes for what was missed", async () => {
  const backend = listening();
  const name = freshName();
  const grant = await hold(name);
  const { wakes, subscription } = await watch(backend, name);
  await proxy.refuse();
  await until("the drop is seen", () => !subscription.live);
  expect(wakes()).toBe(1);
  await holder.release(releaseRequest(grant), call());
  await proxy.heal();
  await until("push is back", () => subscription.live);
  expect(wakes()).toBeGreaterThan(1);
  const again = await hold(name);
  const before = wakes();
  await holder.release(releaseRequest(again), call());
  await until("a release wakes again", () => wakes() > before);
});

test("a listening connection killed by the server comes back", async () => {
  const backend = listening();
  const name = freshName();
  await hold(name);
  const { subscription } = await watch(backend, name);
  await direct.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'coord-listen'",
  );
  await until("the drop is seen", () => !subscription.live);
  await until("push is back", () => subscription.live);
});

test("watch rejects where it can't listen, within its time, and the process goes on", async () => {
  const backend = listening();
  await proxy.refuse();
  await expect(backend.watch?.(freshName(), () => {}, call(3000))).rejects.toThrow(/./);
  await proxy.heal();
  proxy.stall();
  await expect(backend.watch?.(freshName(), () => {}, call(300))).rejects.toMatchObject({
    code: "COORD_UNAVAILABLE",
  });
});

test("backends on one pool share one listening client, which the last one closes", async () => {
  const pool = new pg.Pool({ connectionString: server.url, max: 3 });
  const [one, two] = [postgresBackend({ client: pool }), postgresBackend({ client: pool, table: "lease" })];
  const name = freshName();
  await hold(name);
  const first = await one.watch?.(name, () => {}, call());
  const second = await two.watch?.(name, () => {}, call());
  expect(pool.totalCount - pool.idleCount).toBe(1);
  await first?.close();
  await one.close();
  expect(second?.live).toBe(true);
  await second?.close();
  await two.close();
  await until("the listening client is closed", () => pool.totalCount === pool.idleCount);
  await pool.end();
});

test("a transaction pooler, which takes LISTEN and delivers nothing, is found out", async () => {
  const bouncer = await startPgBouncer(server.url, { settings: { default_pool_size: "3" } });
  const pool = new pg.Pool({ connectionString: bouncer.url });
  try {
    const backend = postgresBackend({ client: pool });
    // Other traffic moves the LISTEN to a server connection that nobody reads.
    await expect(backend.watch?.(freshName(), () => {}, call())).rejects.toMatchObject({
      code: "COORD_UNAVAILABLE",
    });
    const { findings } = await backend.diagnose(call());
    expect(findings).toContainEqual(
      expect.objectContaining({ level: "warning", message: expect.stringContaining("do not deliver") }),
    );
    const helped = postgresBackend({ client: pool, listen: { url: server.url } });
    const name = freshName();
    const grant = await hold(name, helped);
    const { wakes } = await watch(helped, name);
    await helped.release(releaseRequest(grant), call());
    await until("the release wakes", () => wakes() > 0);
    await helped.close();
    await backend.close();
  } finally {
    await pool.end();
    await bouncer.stop();
  }
});
