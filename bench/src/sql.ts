/**
 * `pnpm --filter @coord/bench bench:sql [rounds]`: what each strategy of @coord/sql costs under low and under high
 * contention. Prints the table of the guide.
 *
 * Sixteen clients in one process add one to a balance, each with 1 ms of thought between its read and its write; each
 * at a row of its own, or all at one. They have turns of 0.7 s, in several rounds; the best
 * turn of each counts, as others on the machine can only slow it down. The server is on the same machine, with its defaults.
 */
import { subscribe } from "node:diagnostics_channel";
import { cpus, loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { type Backend, type Coordinator, createCoordinator } from "@coord/core";
import { mysqlBackend } from "@coord/mysql";
import { postgresBackend } from "@coord/postgres";
import {
  advisoryLock,
  fencedUpdate,
  insertIdempotent,
  lockRow,
  occUpdate,
  type Session,
  type SqlPool,
  transaction,
  withOccRetry,
} from "@coord/sql";
import { start } from "@coord/test-fixtures";
import { createPool } from "mysql2/promise";
import pg from "pg";

const clients = 16;
const thoughtMs = 1;
const rounds = Number(process.argv[2] ?? 5);
const turnMs = 700;
/** An advisory lock and its transaction take a connection each. */
const poolSize = 2 * clients + 4;

interface Database {
  readonly pool: SqlPool;
  readonly backend: Backend;
  query(sql: string): Promise<Record<string, unknown>[]>;
  end(): Promise<void>;
}

function openPostgres(url: string): Database {
  const pool = new pg.Pool({ connectionString: url, max: poolSize });
  return {
    pool,
    backend: postgresBackend({ client: pool }),
    query: async (sql) => (await pool.query<Record<string, unknown>>(sql)).rows,
    end: () => pool.end(),
  };
}

function openMysql(url: string): Database {
  const pool = createPool({ uri: url, connectionLimit: poolSize });
  return {
    pool,
    backend: mysqlBackend({ client: pool }),
    query: async (sql) => (await pool.query(sql))[0] as Record<string, unknown>[],
    end: () => pool.end(),
  };
}

interface Account {
  readonly balance: number;
  readonly version: string | number;
}

/** One unit of work on one row. */
interface Contender {
  readonly name: string;
  readonly work: (id: number) => Promise<unknown>;
}

const think = (): Promise<void> => sleep(thoughtMs);

async function read(session: Session, id: number): Promise<Account> {
  const row = await session.fetchOne<Account>("SELECT balance, version FROM account WHERE id = :id", { id });
  if (row === null) throw new Error(`there is no account ${id}`);
  return row;
}

const write = (session: Session, id: number, balance: number): Promise<unknown> =>
  session.execute("UPDATE account SET balance = :balance WHERE id = :id", { balance, id });

async function readThinkWrite(session: Session, id: number): Promise<void> {
  const { balance } = await read(session, id);
  await think();
  await write(session, id, balance + 1);
}

function contenders(pool: SqlPool, coord: Coordinator): Contender[] {
  let request = 0;
  return [
    { name: "nothing (unsafe)", work: (id) => transaction(pool, (session) => readThinkWrite(session, id)) },
    {
      name: "atomic SQL",
      work: async (id) => {
        await think();
        await transaction(pool, (session) =>
          session.execute("UPDATE account SET balance = balance + 1 WHERE id = :id", { id }),
        );
      },
    },
    {
      name: "insertIdempotent",
      work: async () => {
        await think();
        const values = { id: ++request, account: 1 };
        await transaction(pool, (session) => insertIdempotent(session, "request", values, { key: ["id"] }));
      },
    },
    {
      name: "occUpdate, withOccRetry",
      work: (id) =>
        withOccRetry(
          pool,
          async (session) => {
            const { balance, version } = await read(session, id);
            await think();
            await occUpdate(session, "account", { where: { id }, version, set: { balance: balance + 1 } });
          },
          { attempts: 1000 },
        ),
    },
    {
      name: "lockRow",
      work: (id) =>
        transaction(pool, async (session) => {
          const row = await lockRow<Account>(session, "account", { id });
          await think();
          await write(session, id, (row?.balance ?? 0) + 1);
        }),
    },
    {
      name: "advisoryLock",
      work: (id) =>
        advisoryLock(
          pool,
          `account:${id}`,
          () => transaction(pool, (session) => readThinkWrite(session, id)),
          {
            timeoutMs: 60_000,
          },
        ),
    },
    {
      name: "lease, fencedUpdate",
      work: (id) =>
        coord.withLease(`account:${id}`, (lease) =>
          transaction(pool, async (session) => {
            const { balance } = await read(session, id);
            await think();
            await fencedUpdate(session, lease, "account", { where: { id }, set: { balance: balance + 1 } });
          }),
        ),
    },
  ];
}

const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

let retries = 0;
const isRetry = (event: unknown): boolean =>
  typeof event === "object" && event !== null && "kind" in event && event.kind === "occ-retry";
subscribe("coord:sql", (event) => {
  if (isRetry(event)) retries++;
});

/** What one contender did in a turn. */
interface Score {
  readonly perSecond: number;
  readonly tookMs: readonly number[];
  readonly retries: number;
  readonly lost: number;
}

/** Runs all clients for the time of a turn. */
async function turn(db: Database, { work }: Contender, sameRow: boolean): Promise<Score> {
  await db.query("UPDATE account SET balance = 0, fence = 0");
  retries = 0;
  const tookMs: number[] = [];
  const startedAt = performance.now();
  const endsAt = startedAt + turnMs;
  await Promise.all(
    Array.from({ length: clients }, async (_, i) => {
      while (performance.now() < endsAt) {
        const from = performance.now();
        await work(sameRow ? 1 : i + 1);
        tookMs.push(performance.now() - from);
      }
    }),
  );
  const perSecond = (1000 * tookMs.length) / (performance.now() - startedAt);
  const [row] = await db.query("SELECT sum(balance) AS total FROM account");
  return { perSecond, tookMs, retries, lost: tookMs.length - Number(row?.["total"]) };
}

/** All contenders by turns; of each, the turn that the rest of the machine disturbed least. */
async function measure(db: Database, all: readonly Contender[], sameRow: boolean): Promise<void> {
  const best = new Map<string, Score>();
  for (let round = 0; round < rounds; round++) {
    for (const contender of all) {
      const score = await turn(db, contender, sameRow);
      if (score.perSecond > (best.get(contender.name)?.perSecond ?? 0)) best.set(contender.name, score);
    }
  }
  const unit = best.get("atomic SQL")?.perSecond ?? 1;
  for (const [name, { perSecond, tookMs, ...score }] of best) {
    const sorted = tookMs.toSorted((a, b) => a - b);
    const cells = [
      name,
      perSecond.toFixed(0),
      (perSecond / unit).toFixed(2),
      quantile(sorted, 0.5).toFixed(1),
      quantile(sorted, 0.99).toFixed(1),
      name.startsWith("occ") ? (score.retries / tookMs.length).toFixed(2) : "",
      name === "insertIdempotent" ? "" : String(score.lost),
    ];
    console.log(`| ${cells.join(" | ")} |`);
  }
}

for (const kind of ["postgres", "mysql"] as const) {
  const server = await start(kind);
  const db = kind === "postgres" ? openPostgres(server.url) : openMysql(server.url);
  await db.query(
    "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL, version bigint NOT NULL DEFAULT 1, fence bigint NOT NULL DEFAULT 0)",
  );
  await db.query("CREATE TABLE request (id bigint PRIMARY KEY, account int NOT NULL)");
  for (let id = 1; id <= clients; id++) await db.query(`INSERT INTO account (id, balance) VALUES (${id}, 0)`);
  const coord = createCoordinator({ backend: db.backend, namespace: "bench", defaults: { waitMs: 60_000 } });
  await coord.setup();
  for (const sameRow of [false, true]) {
    const load = loadavg()[0]?.toFixed(1);
    console.log(
      `\n${kind} ${server.version}, ${sameRow ? "all at one row" : "each at a row of its own"}, load ${load}\n`,
    );
    console.log("| strategy | done/s | to atomic SQL | p50 ms | p99 ms | retries each | lost |");
    console.log("| --- | --- | --- | --- | --- | --- | --- |");
    await measure(db, contenders(db.pool, coord), sameRow);
    await db.query("DELETE FROM request");
  }
  await coord.close({ graceMs: 0 });
  await db.end();
  await server.stop();
}
console.log(`\n${cpus().length} cores`);
