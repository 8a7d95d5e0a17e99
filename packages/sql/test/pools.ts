import { createPool } from "mysql2/promise";
import pg from "pg";
import type { Dialect, SqlPool } from "../src/index.ts";

export const flavors = ["postgres", "mysql", "mariadb"] as const;
export type Flavor = (typeof flavors)[number];

/** A pool of either driver, with what tests need of both. */
export interface TestPool {
  readonly dialect: Dialect;
  readonly pool: SqlPool;
  readonly url: string;
  /** Runs statements outside of any session; the rows of the last one. */
  query(sql: string): Promise<Record<string, unknown>[]>;
  end(): Promise<void>;
}

export function openPool(flavor: Flavor, url: string, max = 5): TestPool {
  if (flavor === "postgres") {
    const pool = new pg.Pool({ connectionString: url, max });
    pool.on("error", () => {});
    return {
      dialect: "postgres",
      pool,
      url,
      query: async (sql) => (await pool.query<Record<string, unknown>>(sql)).rows,
      end: () => pool.end(),
    };
  }
  const pool = createPool({ uri: url, connectionLimit: max });
  return {
    dialect: "mysql",
    pool,
    url,
    query: async (sql) => {
      const [rows] = await pool.query(sql);
      return Array.isArray(rows) ? (rows as Record<string, unknown>[]) : [];
    },
    end: () => pool.end(),
  };
}
