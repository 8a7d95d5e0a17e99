/** What the conformance suite needs to know of this backend, on a server of the fixtures. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { forkHolder } from "@coord/conformance";
import type { Harness, Misconfigured, Opened } from "@coord/conformance";
import { startProxy } from "@coord/test-fixtures";
import type { Server } from "@coord/test-fixtures";
import type { Pool } from "mysql2/promise";
import { mysqlBackend } from "../src/index.ts";
import { call, connecting, offBy, poolOf, rewriting } from "./harness.ts";

const fresh = (prefix: string): string => `${prefix}_${randomBytes(6).toString("hex")}`;

function at(url: string, parts: { database?: string; user?: string }): string {
  const changed = new URL(url);
  if (parts.database !== undefined) changed.pathname = `/${parts.database}`;
  if (parts.user !== undefined) changed.username = parts.user;
  return changed.href;
}

/** A statement that changes a record; reading and what prepares a connection must get through. */
const isWrite = (chunk: Buffer): boolean => /(INSERT INTO|UPDATE)\s[^]*coord_/.test(chunk.toString("latin1"));

export interface Changed {
  /** Changes the text of every statement of both backends. */
  readonly rewrite?: (sql: string) => string;
}

export function mysqlHarness(server: Server, flavor: string, changed: Changed = {}): Harness {
  const direct = poolOf(server.url);
  const { rewrite = (sql) => sql } = changed;
  // Tables of nobody else at the time: clean-up, on a clock that a case has set, looks at no namespace.
  const idlePrefixes: string[] = [];
  let prefixes = 0;

  async function inDatabase(
    closing: (() => Promise<unknown>)[],
    settings: Record<string, unknown> = {},
  ): Promise<Pool> {
    const database = fresh("coord");
    await direct.query(`CREATE DATABASE ${database}`);
    const pool = poolOf(at(server.url, { database }), settings);
    closing.push(async () => {
      await pool.end();
      await direct.query(`DROP DATABASE ${database}`);
    });
    return pool;
  }

  async function misconfigured(): Promise<Misconfigured[]> {
    const made = async (
      title: string,
      prepare: (pool: Pool) => Promise<unknown>,
      sessions?: string,
    ): Promise<Misconfigured> => {
      const closing: (() => Promise<unknown>)[] = [];
      const pool = await inDatabase(closing);
      if (sessions !== undefined) pool.on("connection", (connection) => void connection.query(sessions));
      await prepare(pool);
      const backend = mysqlBackend({ client: pool, wake: false });
      return { title, backend, close: async () => void (await Promise.all(closing.map((end) => end()))) };
    };
    const nothing = async (): Promise<void> => {};
    return [
      await made("sessions without autocommit", nothing, "SET autocommit=0"),
      await made(
        "sessions that see what is not committed",
        nothing,
        "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
      ),
      await made(
        "sessions whose clock stands still",
        (pool) => mysqlBackend({ client: pool }).setup(call()),
        "SET timestamp=1700000000",
      ),
      await made("a table without transactions", async (pool) => {
        await mysqlBackend({ client: pool }).setup(call());
        await pool.query("ALTER TABLE coord_lease ROW_FORMAT=DEFAULT, ENGINE=MyISAM");
      }),
      ...(flavor === "mariadb"
        ? [
            await made(
              "assignments that don't see each other",
              nothing,
              "SET sql_mode='SIMULTANEOUS_ASSIGNMENT'",
            ),
            await made("the mode of another store", nothing, "SET sql_mode='ORACLE'"),
          ]
        : []),
    ];
  }

  async function open(): Promise<Opened> {
    const namespace = fresh("c");
    const tablePrefix = idlePrefixes.pop() ?? `coord_${(prefixes += 1)}`;
    const tables = [`${tablePrefix}_lease`, `${tablePrefix}_payload`];
    const clock = { us: 0 };
    const text = (sql: string): string => offBy(clock)(rewrite(sql));
    const proxy = await startProxy(server.url);
    const closing: (() => Promise<unknown>)[] = [];
    const backendOn = (url: string, settings: Record<string, unknown> = {}) => {
      const pool = poolOf(url, { connectionLimit: 4, ...settings });
      const backend = mysqlBackend({
        client: rewriting(pool, text),
        tablePrefix,
        // The suite waits for twenty names at once.
        wake: { connect: connecting(url, text), maxConnections: 64 },
      });
      closing.push(
        () => backend.close(),
        () => pool.end(),
      );
      return backend;
    };
    const backend = backendOn(proxy.url);
    await backend.setup(call());
    return {
      backend,
      namespace,
      second: async () => backendOn(server.url),
      async close() {
        await proxy.heal();
        for (const end of closing) await end();
        await proxy.stop();
        for (const table of tables) await direct.query(`DELETE FROM ${table}`);
        idlePrefixes.push(tablePrefix);
      },
      passTime: (ms) => {
        clock.us += ms * 1000;
      },
      stepClock: (ms) => {
        clock.us += ms * 1000;
      },
      swallowNextReply: () => void proxy.swallowReply({ match: isWrite }),
      killConnections: async () => proxy.cut(),
      async cut() {
        await proxy.refuse();
        return () => proxy.heal();
      },
      ...(server.faults !== undefined && {
        async pause() {
          await server.faults?.pause();
          return async () => await server.faults?.resume();
        },
        restart: server.faults.restart,
      }),
      async writeFence({ key }, fence) {
        await direct.query(`UPDATE ${tablePrefix}_lease SET fence=?,last_fence=fence WHERE ns=? AND k=?`, [
          fence,
          Buffer.from(namespace),
          Buffer.from(key),
        ]);
      },
      async deleteRecord({ key }) {
        await direct.query(`DELETE FROM ${tablePrefix}_lease WHERE ns=? AND k=?`, [
          namespace,
          Buffer.from(key),
        ]);
      },
      async lockRecord({ key }) {
        const connection = await direct.getConnection();
        await connection.beginTransaction();
        await connection.query(`SELECT fence FROM ${tablePrefix}_lease WHERE ns=? AND k=? FOR UPDATE`, [
          namespace,
          Buffer.from(key),
        ]);
        return async () => {
          await connection.rollback();
          connection.release();
        };
      },
      async footprint() {
        const [rows] = await direct.query(
          `SELECT (SELECT COUNT(*) FROM ${tablePrefix}_lease WHERE ns=?)+(SELECT COUNT(*) FROM ${tablePrefix}_payload WHERE ns=?) AS n`,
          [namespace, namespace],
        );
        return Number(Array.isArray(rows) && rows[0] !== undefined && "n" in rows[0] ? rows[0]["n"] : NaN);
      },
      async unprivileged() {
        const user = fresh("u");
        const host = "127.0.0.1";
        await direct.query(`CREATE USER '${user}'@'${host}'`);
        for (const table of tables) {
          await direct.query(
            `GRANT SELECT,INSERT,UPDATE,DELETE ON ${new URL(server.url).pathname.slice(1)}.${table} TO '${user}'@'${host}'`,
          );
        }
        const least = backendOn(at(server.url, { user }));
        closing.push(() => direct.query(`DROP USER '${user}'@'${host}'`));
        return least;
      },
      async bare() {
        const pool = await inDatabase(closing);
        return mysqlBackend({ client: rewriting(pool, text), wake: false });
      },
      misconfigured,
      spawnHolder: (key, ttlMs) =>
        forkHolder(join(import.meta.dirname, "conformance-holder-child.ts"), {
          args: [server.url, tablePrefix, namespace, key, String(ttlMs)],
          execArgv: ["--conditions=source", "--import", "tsx"],
        }),
      singleConnection: async () => backendOn(server.url, { connectionLimit: 1 }),
    };
  }

  return {
    name: `${flavor} ${server.version} (${server.provider})`,
    timing: { slackMs: 400 },
    skip: {
      "granting/full-ttl-after-wait":
        "a statement's time is that of its beginning, so a wait for a row's lock, two seconds at the most, is taken off the ttl; core counts from before it sends",
    },
    // An overrule can't open the gate of a holder elsewhere: its waiters look again after five seconds.
    declared: { wakeMs: 8000 },
    open,
    async close() {
      for (const prefix of idlePrefixes) {
        await direct.query(`DROP TABLE ${prefix}_lease,${prefix}_payload`);
      }
      await direct.end();
    },
  };
}
