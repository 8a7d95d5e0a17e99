import type { Grant } from "@coord/core";
import { type Proxy, start, startProxy } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { postgresBackend, type PostgresBackend } from "../src/index.ts";
import {
  acquireRequest,
  call,
  counting,
  freshName,
  overruleRequest,
  releaseRequest,
  until,
} from "./harness.ts";

const server = await start("postgres");
const proxy: Proxy = await startProxy(server.url);
const pool = new pg.Pool({ connectionString: proxy.url, max: 1 });
let backend: PostgresBackend;

beforeAll(async () => {
  backend = postgresBackend({ client: pool });
  await backend.setup(call());
});
afterAll(async () => {
  await backend.close();
  await pool.end();
  await proxy.stop();
  await server.stop();
});

const counted = counting(proxy);

async function grant(): Promise<Grant> {
  const request = acquireRequest(freshName());
  const result = await backend.acquire(request, call());
  if (result.outcome === "refused") throw new Error("refused");
  return { name: request.name, grantId: request.grantId, fence: result.fence };
}

test("acquire is one round trip, prepared or not", async () => {
  for (let round = 0; round < 3; round++) {
    const { trips, answer } = await counted(() => backend.acquire(acquireRequest(freshName()), call()));
    expect(answer.outcome).toBe("granted");
    expect(trips).toBe(1);
  }
});

test("a refused acquire is one round trip, with the record", async () => {
  const held = await grant();
  const { trips, answer } = await counted(() => backend.acquire(acquireRequest(held.name), call()));
  expect(trips).toBe(1);
  expect(answer).toMatchObject({ outcome: "refused", reason: "held", record: { grantId: held.grantId } });
});

test("500 leases are renewed in one round trip", async () => {
  const grants = await Promise.all(Array.from({ length: 500 }, grant));
  const { trips, answer } = await counted(() =>
    backend.renew(
      grants.map((each) => ({ ...each, ttlMs: 60_000 })),
      call(),
    ),
  );
  expect(trips).toBe(1);
  expect(new Set(answer)).toEqual(new Set(["renewed"]));
});

test("release, inspect and overrule are one round trip each", async () => {
  const held = await grant();
  expect((await counted(() => backend.inspect(held.name, call()))).trips).toBe(1);
  expect((await counted(() => backend.release(releaseRequest(held), call()))).trips).toBe(1);
  const other = await grant();
  const { trips } = await counted(() => backend.overrule(overruleRequest(other.name, other.fence), call()));
  expect(trips).toBe(1);
});

test("a pool of one is enough, and has no push", async () => {
  expect("watch" in backend).toBe(false);
  const all = await Promise.all(Array.from({ length: 20 }, grant));
  expect(new Set(all.map(({ name }) => name.namespace)).size).toBe(20);
});

test("a name that is waited for costs no statement between marks", async () => {
  const wide = new pg.Pool({ connectionString: proxy.url, max: 3 });
  const waiting = postgresBackend({ client: wide });
  const held = await grant();
  const subscription = await waiting.watch?.(held.name, () => {}, call());
  expect(subscription?.live).toBe(true);
  const { trips } = await counted(() => new Promise((resolve) => setTimeout(resolve, 4000)));
  expect(trips).toBe(0);
  await subscription?.close();
  await waiting.close();
  await until("the listening client is closed", () => wide.totalCount - wide.idleCount === 0);
  await wide.end();
});
