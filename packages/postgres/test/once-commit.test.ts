/** An answer that commits with the function's own writes, when the connection fails around the commit. */
import { createCoordinator, type Execution } from "@coord/core";
import { start, startProxy } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, afterEach, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { freshName, until } from "./harness.ts";

const server = await start("postgres");
const proxy = await startProxy(server.url);
/** The function's way to the database, which is spoilt; the coordinator's own is not. */
const spoilt = new pg.Pool({ connectionString: proxy.url });
const pool = new pg.Pool({ connectionString: server.url });
for (const each of [spoilt, pool]) each.on("error", () => {});
const backend = postgresBackend({ client: pool });
const { namespace } = freshName();
const coord = createCoordinator({ backend, namespace, cleanUp: false });
await coord.setup();
await pool.query("CREATE TABLE moved (key text NOT NULL)");

afterEach(() => proxy.heal());
afterAll(async () => {
  await coord.close();
  await Promise.all([spoilt.end(), pool.end()]);
  await proxy.stop();
  await server.stop();
});

/** Writes and completes in a transaction; how it ends is up to the test. */
async function open(execution: Execution): Promise<pg.PoolClient> {
  const client = await spoilt.connect();
  client.on("error", () => {});
  await client.query("BEGIN");
  await client.query("INSERT INTO moved VALUES ($1)", [execution.key]);
  await execution.complete("moved", { within: backend.within(client) });
  return client;
}
const movedOf = async (key: string): Promise<number> =>
  (await pool.query("SELECT FROM moved WHERE key = $1", [key])).rowCount ?? 0;
const never = (): string => "never";
/** A statement that waits for a lock: the release, behind the transaction that is still open. */
const isQueued = async (): Promise<boolean> => {
  const { rowCount } = await pool.query(
    "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%coord%'",
  );
  return (rowCount ?? 0) > 0;
};

test("the answer to COMMIT is lost: it is completed, though the function throws", async () => {
  const result = await coord.once<string>("lost", async (_, execution) => {
    const client = await open(execution);
    const { done } = proxy.swallowReply({ match: (chunk) => chunk.includes("COMMIT") });
    const committed = client.query("COMMIT");
    await expect(committed).rejects.toThrow();
    await done;
    client.release(true);
    throw new Error("is it committed?");
  });
  expect(result).toMatchObject({ status: "completed", response: "moved", replayed: false });
  expect(await movedOf("lost")).toBe(1);
  expect(await coord.once("lost", never)).toMatchObject({ response: "moved", replayed: true });
});

test("the connection breaks before COMMIT: nothing was moved, it is uncertain, and the error is the function's", async () => {
  const failing = coord.once<string>("cut", async (_, execution) => {
    const client = await open(execution);
    proxy.cut();
    try {
      await client.query("COMMIT");
    } finally {
      client.release(true);
    }
    return "moved";
  });
  await expect(failing).rejects.not.toMatchObject({ code: expect.stringContaining("COORD") });
  expect(await movedOf("cut")).toBe(0);
  expect(await coord.once("cut", never)).toMatchObject({ status: "uncertain" });
});

const notCommitted = { code: "COORD_OUTCOME_NOT_COMMITTED", response: "moved" };

test.each([
  ["commits", "COMMIT", 1, { value: { status: "completed", response: "moved" } }, { status: "completed" }],
  ["rolls back", "ROLLBACK", 0, { reason: notCommitted }, { status: "uncertain" }],
])(
  "a function that returns before its transaction %s: the record waits for that",
  async (_, ending, moved, told, next) => {
    const key = `late ${ending}`;
    let client: pg.PoolClient | undefined;
    const work = async (__: undefined, execution: Execution): Promise<string> => {
      client = await open(execution);
      return "moved";
    };
    const ended = Promise.allSettled([coord.once<string>(key, work)]);
    await until("the release waits behind the transaction", isQueued);
    await client?.query(ending);
    client?.release();
    expect(await ended).toMatchObject([told]);
    expect(await coord.once(key, never)).toMatchObject(next);
    expect(await movedOf(key)).toBe(moved);
  },
);

test("resolved as not done while the transaction is open: the operator waits, and finds that it is completed", async () => {
  const found: unknown[] = [];
  let client: pg.PoolClient | undefined;
  let resolving: Promise<unknown> = Promise.resolve();
  const result = await coord.once<string>("both", async (_, execution) => {
    client = await open(execution);
    const { fence } = execution;
    resolving = coord.executions
      .resolve("both", { fence, by: "ann", as: "not-done" })
      .catch((error: unknown) => {
        found.push(error);
      });
    await until("the overrule waits behind the transaction", isQueued);
    await client.query("COMMIT");
    client.release();
    return "moved";
  });
  await resolving;
  expect(result).toMatchObject({ status: "completed", response: "moved" });
  expect(found).toEqual([expect.objectContaining({ code: "COORD_MOVED" })]);
  expect(await coord.once("both", never)).toMatchObject({ response: "moved" });
  expect(await movedOf("both")).toBe(1);
});
