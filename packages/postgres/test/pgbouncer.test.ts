import { start, startPgBouncer } from "@coord/test-fixtures";
import pg from "pg";
import { expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { acquireRequest, call, freshName } from "./harness.ts";
import { oneFence, oneWinner, repeat, risingFences } from "./races.ts";

test.each([
  ["that keeps prepared statements", "100"],
  ["that loses prepared statements", "0"],
])(
  "behind a transaction pooler %s every step works",
  async (_, max_prepared_statements) => {
    const server = await start("postgres");
    const settings = { max_prepared_statements, default_pool_size: "3" };
    const bouncer = await startPgBouncer(server.url, { settings });
    const pool = new pg.Pool({ connectionString: bouncer.url, max: 8 });
    const backend = postgresBackend({ client: pool, listen: false });
    try {
      await backend.setup(call());
      await Promise.all(Array.from({ length: 8 }, () => backend.inspect(freshName(), call())));
      await expect(repeat(5, () => oneWinner(backend, "new"))).resolves.toBeUndefined();
      await expect(repeat(5, () => oneFence(backend))).resolves.toBeUndefined();
      await expect(risingFences(backend, 8, 100)).resolves.toBeUndefined();
      const unprepared = postgresBackend({ client: pool, listen: false, prepare: false });
      expect(await unprepared.acquire(acquireRequest(freshName()), call())).toMatchObject({
        outcome: "granted",
      });
      const byUrl = postgresBackend({ url: bouncer.url });
      expect(await byUrl.acquire(acquireRequest(freshName()), call())).toMatchObject({ outcome: "granted" });
      await byUrl.close();
    } finally {
      await pool.end();
      await bouncer.stop();
      await server.stop();
    }
  },
  60_000,
);
