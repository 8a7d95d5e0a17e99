import { createCoordinator } from "@coord/core";
import { type Proxy, start, startProxy } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { call, counting, freshName } from "./harness.ts";

const server = await start("postgres");
const proxy: Proxy = await startProxy(server.url);
const pool = new pg.Pool({ connectionString: proxy.url, max: 1 });
const backend = postgresBackend({ client: pool });
const { namespace } = freshName();
const coord = createCoordinator({ backend, namespace, cleanUp: false });
await backend.setup(call());

afterAll(async () => {
  await coord.close();
  await pool.end();
  await proxy.stop();
  await server.stop();
});

const counted = counting(proxy);

const pay = (input: { amount: number }): Promise<{ paid: number }> => Promise.resolve({ paid: input.amount });
const once = (key: string, amount = 5) => counted(() => coord.once(key, { input: { amount } }, pay));

test("a first run is two round trips, and a replay is one, prepared or not", async () => {
  for (const key of ["a", "b", "c"]) {
    const first = await once(key);
    expect(first).toMatchObject({ trips: 2, answer: { status: "completed", replayed: false } });
    const replay = await once(key);
    expect(replay).toMatchObject({ trips: 1, answer: { status: "completed", replayed: true } });
  }
});

test("an answer as large as it may be is stored and replayed in as many", async () => {
  const large = "ü".repeat(131_000);
  const run = () => counted(() => coord.once("large", () => large));
  expect(await run()).toMatchObject({ trips: 2, answer: { replayed: false, response: large } });
  expect(await run()).toMatchObject({ trips: 1, answer: { replayed: true, response: large } });
});

test("running, uncertain, and another input are one round trip", async () => {
  let finish = (): void => {};
  const finished = new Promise<void>((resolve) => (finish = resolve));
  let begun = (): void => {};
  const began = new Promise<void>((resolve) => (begun = resolve));
  const running = coord.once("held", async () => {
    begun();
    await finished;
  });
  await began;
  expect(await counted(() => coord.once("held", () => {}))).toMatchObject({
    trips: 1,
    answer: { status: "running" },
  });
  finish();
  await running;
  await expect(coord.once("thrown", () => Promise.reject(new Error("cable cut")))).rejects.toThrow("cable");
  expect(await counted(() => coord.once("thrown", () => {}))).toMatchObject({
    trips: 1,
    answer: { status: "uncertain" },
  });
  const before = proxy.roundTrips;
  await expect(once("a", 6)).rejects.toMatchObject({ code: "COORD_ONCE_INPUT_DIFFERS" });
  expect(proxy.roundTrips - before).toBe(1);
});

test("what is refused before it runs is none", async () => {
  const before = proxy.roundTrips;
  const bad = [
    () => coord.once("", () => {}),
    () => coord.once("k", { ttlMs: 2000, maxHoldMs: 1999 }, () => {}),
    () => coord.once("k", { input: "x".repeat(262_144) }, () => {}),
    () => coord.once("k", { retainMs: 1000 }, () => {}),
  ];
  for (const call of bad) await expect(call()).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
  expect(proxy.roundTrips).toBe(before);
});
