import { setTimeout as sleep } from "node:timers/promises";
import { InvalidArgumentError, isCoordError } from "@coord/core";
import { ConflictError } from "./errors.ts";
import { publish, tellingWrite } from "./events.ts";
import { assignments, type Columns, conditions, integer, quoteColumn, quoteTable } from "./identifiers.ts";
import { checkMs } from "./limit.ts";
import { dialectOf, type SqlPool } from "./pool.ts";
import type { Session } from "./types.ts";
import { transaction, type TransactionOptions } from "./transaction.ts";

export interface OccUpdate {
  /** The key of the row, as in `{ id: 42 }`. */
  readonly where: Columns;
  /** The version that was read with the row; a text is what drivers make of a `bigint`. */
  readonly version: number | bigint | string;
  /** The new values, without the version. */
  readonly set: Columns;
  /** An integer column, NOT NULL. @default "version" */
  readonly versionColumn?: string | undefined;
}

function versionOf(version: OccUpdate["version"]): bigint {
  const isInteger =
    typeof version === "bigint" ||
    (typeof version === "number" ? Number.isSafeInteger(version) : /^-?\d{1,19}$/.test(version));
  if (isInteger) return BigInt(version);
  throw new InvalidArgumentError(
    `version must be the integer that was read with the row, got ${JSON.stringify(version) ?? "undefined"}. Does the SELECT read it, and is the column an integer that is NOT NULL?`,
  );
}

async function update(session: Session, table: string, change: OccUpdate): Promise<bigint> {
  const { dialect } = session;
  const { where, set, versionColumn = "version" } = change;
  const version = versionOf(change.version);
  if (Object.hasOwn(set, versionColumn)) {
    throw new InvalidArgumentError(
      `set must not have the column ${versionColumn}: it is counted up by itself.`,
    );
  }
  const key = conditions(dialect, "where", where);
  const values = assignments(dialect, set);
  const column = quoteColumn(dialect, versionColumn);
  const sets = [values.sql, `${column} = ${column} + 1`].filter((sql) => sql !== "").join(", ");
  const { affectedRows } = await session.execute(
    `UPDATE ${quoteTable(dialect, table)} SET ${sets} WHERE ${key.sql} AND ${column} = ${integer(dialect, "version")}`,
    { ...values.values, ...key.values, version },
  );
  if (affectedRows > 1) {
    throw new InvalidArgumentError(
      `where must pick one row of ${table}, got ${affectedRows}: name the columns of its primary or a unique key.`,
    );
  }
  if (affectedRows === 0) {
    throw new ConflictError(
      `The row of ${table} has not version ${version} any more, or is gone: somebody else changed it. Read it again in a new transaction (withOccRetry does).`,
      { table },
    );
  }
  return version + 1n;
}

/**
 * Updates the row if it still has the version that was read, and counts the version up. Returns the new version.
 *
 * @throws {ConflictError} it has another version, or is gone. Let it pass, so that the transaction is rolled back: a
 * second try in the same transaction may read the same old row again.
 */
export function occUpdate(session: Session, table: string, change: OccUpdate): Promise<bigint> {
  return tellingWrite(
    { kind: "occ-update", dialect: session.dialect, table },
    () => update(session, table, change),
    (_, error) =>
      error === undefined ? "written" : isCoordError(error, "COORD_CONFLICT") ? "conflict" : "failed",
  );
}

export interface OccRetryOptions extends TransactionOptions {
  /** Transactions at the most, 1 to 1000. @default 5 */
  readonly attempts?: number | undefined;
  /** The longest pause before the second attempt, in milliseconds; it doubles each time. @default 10 */
  readonly firstPauseMs?: number | undefined;
  /** No pause is longer. @default 1000 */
  readonly longestPauseMs?: number | undefined;
}

/** Nothing of the transaction happened, and another try may go better. */
const isWorthAnother = (error: unknown): boolean =>
  isCoordError(error, "COORD_CONFLICT") ||
  (isCoordError(error, "COORD_ROLLED_BACK") && "reason" in error && error.reason !== "failed");

/**
 * Runs `fn` in a transaction, and again in a new one, after a pause of random length, when it met a conflict, a
 * deadlock or a serialization failure. What `fn` does must therefore be all inside the transaction: read, decide,
 * write. `timeoutMs` counts for each transaction.
 *
 * It never repeats a transaction that may have been committed.
 *
 * @throws {ConflictError} with `attempts`, when they are used up.
 */
export async function withOccRetry<T>(
  pool: SqlPool,
  fn: (session: Session) => Promise<T>,
  options: OccRetryOptions = {},
): Promise<T> {
  const { attempts = 5, firstPauseMs = 10, longestPauseMs = 1000, ...each } = options;
  if (!Number.isInteger(attempts) || attempts < 1 || attempts > 1000)
    throw new InvalidArgumentError(`attempts must be an integer from 1 to 1000, got ${attempts}.`);
  checkMs("firstPauseMs", firstPauseMs, 0);
  checkMs("longestPauseMs", longestPauseMs, 0);
  const dialect = dialectOf(pool);
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction(pool, fn, each);
    } catch (error) {
      if (!isWorthAnother(error)) throw error;
      if (attempt >= attempts) {
        throw new ConflictError(
          `Given up after ${attempts} transaction(s) that all met somebody else's. Under so much contention, lock the row (lockRow) or change it with one statement.`,
          { attempts, table: error instanceof ConflictError ? error.table : undefined, cause: error },
        );
      }
      const pauseMs = Math.random() * Math.min(longestPauseMs, firstPauseMs * 2 ** (attempt - 1));
      publish({ kind: "occ-retry", dialect, attempt, pauseMs, error });
      await pause(pauseMs, each.signal);
    }
  }
}

async function pause(pauseMs: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(pauseMs, undefined, signal === undefined ? {} : { signal }).catch(() => {
    throw signal?.reason;
  });
}
