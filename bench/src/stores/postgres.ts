import { postgresBackend } from "@coord/postgres";
import { start } from "@coord/test-fixtures";
import knex from "knex";
import pg from "pg";
import type { BenchStore } from "../store.ts";
import { verrouOnKnex } from "./verrou.ts";

export const postgres: BenchStore = {
  name: "postgres",
  title: "PostgreSQL",
  cells: ["cycles", "handOff", "crowd", "idle", "renewal", "names"],
  aims: {
    cycles: [0.77, 0.77],
    handOff: { p99Ms: 5 },
    crowd: { oneProcessMs: 215, manyProcessesMs: 260 },
    idle: 1,
  },
  inFlight: 32,
  bareText: "two prepared UPDATEs of one row by its primary key",
  mostNames: 1_000_000,
  renewals: { quick: 10_000, full: 10_000 },
  start: () => start("postgres"),
  async backend(url, connections) {
    const pool = new pg.Pool({ connectionString: url, max: connections });
    const backend = postgresBackend({ client: pool, ...(connections < 3 && { listen: { url } }) });
    return { backend, close: () => pool.end() };
  },
  async bare(url, connections, keys) {
    const pool = new pg.Pool({ connectionString: url, max: connections });
    await pool.query(
      "CREATE TABLE IF NOT EXISTS bare (key text PRIMARY KEY, fence bigint, holder text, expires_at timestamptz)",
    );
    await pool.query(
      "INSERT INTO bare SELECT k, 0, '', now() FROM unnest($1::text[]) k ON CONFLICT DO NOTHING",
      [keys],
    );
    const take =
      "UPDATE bare SET holder = $2, fence = fence + 1, expires_at = now() + interval '30 s' WHERE key = $1";
    const give = "UPDATE bare SET expires_at = now() WHERE key = $1 AND holder = $2";
    return {
      name: "bare statements",
      async cycle(key) {
        await pool.query({ name: "take", text: take, values: [key, "me"] });
        await pool.query({ name: "give", text: give, values: [key, "me"] });
      },
      close: () => pool.end(),
    };
  },
  async peers(url, connections) {
    const pool = { min: connections, max: connections };
    return [verrouOnKnex(knex({ client: "pg", connection: url, pool }))];
  },
  async fill(url, count) {
    const pool = new pg.Pool({ connectionString: url, max: 1 });
    await pool.query(
      `INSERT INTO coord.lease (namespace, key, fence, expires_at, retain_ms, purge_at, payload_seq, sealed, grant_id, holder)
       SELECT 'fill', E'l\\x1ffill:' || i, 1, 'epoch', 86400000, now() + interval '1 day', 0, false, 'x', '' FROM generate_series(1, $1) i
       ON CONFLICT DO NOTHING`,
      [count],
    );
    await pool.query("VACUUM ANALYZE coord.lease");
    await pool.end();
  },
};
