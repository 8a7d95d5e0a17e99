/** The statements of advisory locks. What is written into them are numbers and hex digits of our own making. */
import { createHash } from "node:crypto";
import { UnavailableError } from "@coord/core";
import { rowsOf } from "./answer.ts";
import { verdictOf } from "./failures.ts";
import type { Connection } from "./pool.ts";

/** A lock's name as the servers know it. */
export interface LockKey {
  /** PostgreSQL: 64 bits, as a decimal. Locks belong to the database that the connection is in. */
  readonly number: string;
  /** MySQL: locks belong to the whole server, so the database's name is made a part of it. */
  readonly expression: string;
}

export function lockKeyOf(name: string): LockKey {
  const digest = createHash("sha256").update(`coord/sql/${name}`).digest();
  const hex = digest.toString("hex");
  return {
    number: digest.readBigInt64BE(0).toString(),
    // At most 64 characters.
    expression: `CONCAT('coord_', LEFT(SHA2(CONCAT(HEX(CONVERT(COALESCE(DATABASE(), '') USING utf8mb4)), '/${hex}'), 256), 40))`,
  };
}

async function firstValue(connection: Connection, text: string): Promise<unknown> {
  const [row] = rowsOf(await connection.control(text));
  return row === undefined ? undefined : Object.values(row)[0];
}

/** Which of the server's connections this statement runs on. */
export async function serverIdOf(connection: Connection): Promise<number> {
  const text = connection.dialect === "postgres" ? "SELECT pg_backend_pid()" : "SELECT CONNECTION_ID()";
  return Number(await firstValue(connection, text));
}

/** A session's lock outlives the transaction, which is there only to bound the wait. */
async function takeOnPostgres(connection: Connection, { number }: LockKey, waitMs: number): Promise<boolean> {
  if (waitMs < 1) return (await firstValue(connection, `SELECT pg_try_advisory_lock(${number})`)) === true;
  try {
    await connection.control(
      `BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = ${Math.ceil(waitMs)}; SELECT pg_advisory_lock(${number}); COMMIT`,
    );
    return true;
  } catch (error) {
    if (verdictOf("postgres", error) !== "lock-timeout") throw error;
    await connection.control("ROLLBACK");
    return false;
  }
}

/** Between two looks at a lock, for waits that MySQL, which counts whole seconds, can't bound by itself. */
const pollMs = 25;

async function takeOnMysql(
  connection: Connection,
  { expression }: LockKey,
  endsAt: number,
  pause: (pauseMs: number) => Promise<void>,
): Promise<boolean> {
  for (;;) {
    const restMs = Math.max(0, endsAt - performance.now());
    const got = await firstValue(connection, `SELECT GET_LOCK(${expression}, ${Math.floor(restMs / 1000)})`);
    if (Number(got) === 1 && got !== null) return true;
    if (got === null) {
      throw new UnavailableError("The server ended the wait for the lock without a decision.", {
        notDone: true,
      });
    }
    const leftMs = endsAt - performance.now();
    if (leftMs <= 0) return false;
    if (leftMs < 1000) await pause(Math.min(pollMs, leftMs));
  }
}

/** Whether the lock was got before `endsAt`, on the clock of `performance.now()`. It is tried once at least. */
export function takeLock(
  connection: Connection,
  key: LockKey,
  endsAt: number,
  pause: (pauseMs: number) => Promise<void>,
): Promise<boolean> {
  return connection.dialect === "postgres"
    ? takeOnPostgres(connection, key, endsAt - performance.now())
    : takeOnMysql(connection, key, endsAt, pause);
}

/** Whether it was held until now. */
export async function freeLock(connection: Connection, { number, expression }: LockKey): Promise<boolean> {
  if (connection.dialect === "postgres")
    return (await firstValue(connection, `SELECT pg_advisory_unlock(${number})`)) === true;
  return Number(await firstValue(connection, `SELECT RELEASE_LOCK(${expression})`)) === 1;
}
