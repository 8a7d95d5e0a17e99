import { mysqlBackend } from "@coord/mysql";
import { start } from "@coord/test-fixtures";
import knex from "knex";
import mysql from "mysql2/promise";
import type { BenchStore } from "../store.ts";
import { verrouOnKnex } from "./verrou.ts";

const storeOn = (flavor: "mysql" | "mariadb", title: string): BenchStore => ({
  name: flavor,
  title,
  cells: ["cycles", "handOff", "crowd", "idle", "renewal", "names"],
  aims: { handOff: { p50Ms: 5 }, crowd: { oneProcessMs: 215, manyProcessesMs: 350 }, idle: 1 },
  inFlight: 32,
  bareText: "two prepared UPDATEs of one row by its primary key",
  mostNames: 1_000_000,
  renewals: { quick: 10_000, full: 10_000 },
  start: () => start("mysql", { flavor }),
  async backend(url, connections) {
    const pool = mysql.createPool({ uri: url, connectionLimit: connections });
    return { backend: mysqlBackend({ client: pool }), close: () => pool.end() };
  },
  async bare(url, connections, keys) {
    const pool = mysql.createPool({ uri: url, connectionLimit: connections });
    await pool.query(
      "CREATE TABLE IF NOT EXISTS bare (k VARBINARY(640) PRIMARY KEY, fence BIGINT NOT NULL, holder VARCHAR(255) NOT NULL, expires_ms BIGINT NOT NULL)",
    );
    await pool.query("INSERT IGNORE INTO bare VALUES ?", [keys.map((key) => [key, 0, "", 0])]);
    return {
      name: "bare statements",
      async cycle(key) {
        await pool.execute(
          "UPDATE bare SET holder=?,fence=fence+1,expires_ms=UNIX_TIMESTAMP(NOW(3))*1000+30000 WHERE k=?",
          ["me", key],
        );
        await pool.execute("UPDATE bare SET expires_ms=0 WHERE k=? AND holder=?", [key, "me"]);
      },
      close: () => pool.end(),
    };
  },
  async peers(url, connections) {
    const pool = { min: connections, max: connections };
    return [verrouOnKnex(knex({ client: "mysql2", connection: url, pool }))];
  },
  async fill(url, count) {
    const connection = await mysql.createConnection(url);
    const digit =
      "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
    const tens = Array.from({ length: Math.ceil(Math.log10(count)) }, (_, i) => i);
    const number = tens.map((i) => `d${i}.d*${10 ** i}`).join("+");
    const from = tens.map((i) => `${digit} d${i}`).join(" CROSS JOIN ");
    await connection.query(
      `INSERT IGNORE INTO coord_lease (ns,k,fence,last_fence,grant_id,expires_ms,sealed,retain_ms,purge_ms,holder,payload_seq,payload_at)
       SELECT 'fill',CONCAT('l',CHAR(31),'fill:',${number}),1,1,'x',0,0,86400000,UNIX_TIMESTAMP()*1000+86400000,'',0,0 FROM ${from}`,
    );
    await connection.query("ANALYZE TABLE coord_lease");
    await connection.end();
  },
});

export const mysqlStore: BenchStore = storeOn("mysql", "MySQL");
export const mariadbStore: BenchStore = storeOn("mariadb", "MariaDB");
