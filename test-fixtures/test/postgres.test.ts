import pg from "pg";
import { describe, expect, test } from "vitest";
import { start, startPgBouncer, startProxy, whyMissing } from "../src/index.ts";
import { describeFaults } from "./faults.ts";

async function query(url: string, text: string, values: string[] = []): Promise<pg.QueryResult["rows"]> {
  const client = new pg.Client(url);
  client.on("error", () => {});
  try {
    await client.connect();
    return (await client.query(text, values)).rows;
  } finally {
    await client.end();
  }
}

const talk = {
  write: async (url: string, value: string) => {
    await query(url, "create table if not exists kept (id int primary key, value text)");
    await query(url, "insert into kept values (1, $1) on conflict (id) do update set value = $1", [value]);
  },
  read: async (url: string): Promise<string> => (await query(url, "select value from kept"))[0].value,
};

for (const version of [15, 18] as const) {
  await describeFaults("postgres", { version, settings: { max_connections: "23" } }, talk, (server) => {
    test("has the version and the settings that were asked for", async () => {
      expect(server().version).toMatch(new RegExp(`^${version}\\.`));
      expect(await query(server().url, "show max_connections")).toEqual([{ max_connections: "23" }]);
    });
  });
}

const missing = await whyMissing("postgres");
describe.skipIf(missing)(`PostgreSQL through a proxy${missing ? `: ${missing}` : ""}`, () => {
  test(
    "needs one round trip a query, and keeps what a swallowed reply was about",
    { timeout: 60_000 },
    async () => {
      const server = await start("postgres");
      const proxy = await startProxy(server.url);
      const client = new pg.Client(proxy.url);
      client.on("error", () => {});
      await client.connect();
      try {
        await client.query("create table kept (value text)");
        const before = proxy.roundTrips;
        await client.query("select 1");
        await client.query("select $1::text", ["one"]);
        expect(proxy.roundTrips - before).toBe(2);
        const { done } = proxy.swallowReply({ match: (chunk) => chunk.includes("insert") });
        await expect(client.query("insert into kept values ($1)", ["done"])).rejects.toBeInstanceOf(Error);
        await done;
        expect(await query(server.url, "select value from kept")).toEqual([{ value: "done" }]);
      } finally {
        await client.end().catch(() => {});
        await proxy.stop();
        await server.stop();
      }
    },
  );
});

describe.skipIf(missing)(`PgBouncer${missing ? `: ${missing}` : ""}`, () => {
  test("pools by transaction, and can be killed alone", { timeout: 60_000 }, async () => {
    const postgres = await start("postgres");
    const bouncer = await startPgBouncer(postgres.url, { settings: { default_pool_size: "1" } });
    const first = new pg.Client(bouncer.url);
    const second = new pg.Client(bouncer.url);
    for (const client of [first, second]) {
      client.on("error", () => {});
      await client.connect();
    }
    try {
      const backends = new Set<number>();
      for (const client of [first, second, first]) {
        const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
        for (const { pid } of rows) backends.add(pid);
      }
      expect(backends.size).toBe(1);
      await bouncer.faults?.kill();
      await expect(query(bouncer.url, "select 1")).rejects.toThrow("ECONNREFUSED");
      expect(await query(postgres.url, "select 1 as up")).toEqual([{ up: 1 }]);
      await bouncer.faults?.restart();
      expect(await query(bouncer.url, "select 1 as up")).toEqual([{ up: 1 }]);
    } finally {
      await Promise.allSettled([first.end(), second.end()]);
      await bouncer.stop();
      await postgres.stop();
    }
  });
});
