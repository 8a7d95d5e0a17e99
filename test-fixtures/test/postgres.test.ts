import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { start, type Server } from "../src/index.ts";

/** Whether a query on a connection of its own answers within the time. */
async function answers(url: string, withinMs: number): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: withinMs });
  client.on("error", () => {});
  try {
    await client.connect();
    await client.query("select 1");
    return true;
  } catch {
    return false;
  } finally {
    void client.end().catch(() => {});
  }
}

describe.each([15, 18] as const)("PostgreSQL %i", (version) => {
  let server: Server;
  let client: pg.Client;

  beforeAll(async () => {
    server = await start("postgres", { version, settings: { max_connections: "23" } });
    client = new pg.Client(server.url);
    client.on("error", () => {});
    await client.connect();
  }, 60_000);

  afterAll(async () => {
    await client.end().catch(() => {});
    await server.stop();
  });

  test("has the version and the settings that were asked for", async () => {
    expect(server.version).toMatch(new RegExp(`^${version}\\.`));
    expect((await client.query("show max_connections")).rows).toEqual([{ max_connections: "23" }]);
  });

  test("answers nobody while paused, and everybody afterwards", async () => {
    await server.faults?.pause();
    let isAnswered = false;
    const query = client.query("select 1").then(() => (isAnswered = true));
    expect(await answers(server.url, 300)).toBe(false);
    expect(isAnswered).toBe(false);
    await server.faults?.resume();
    await query;
    expect(await answers(server.url, 5000)).toBe(true);
  });

  test("keeps address and data over kill and restart, also when paused", async () => {
    await client.query("create table kept as select 42 as answer");
    await server.faults?.pause();
    await server.faults?.kill();
    expect(await answers(server.url, 500)).toBe(false);
    await server.faults?.restart();
    client = new pg.Client(server.url);
    client.on("error", () => {});
    await client.connect();
    expect((await client.query("select answer from kept")).rows).toEqual([{ answer: 42 }]);
  });

  test("leaves nothing behind when stopped, and may be stopped twice", async () => {
    await client.end();
    await server.stop();
    await server.stop();
    expect(await answers(server.url, 500)).toBe(false);
  });
});
