import { InvalidArgumentError } from "@coord/core";
import { LockTimeoutError } from "./errors.ts";
import { isHeard, type LockWaitEvent, publish } from "./events.ts";
import { verdictOf } from "./failures.ts";
import { type Columns, conditions, quoteTable } from "./identifiers.ts";
import { checkMs } from "./limit.ts";
import type { Row, Session } from "./types.ts";

export interface LockRowOptions {
  /**
   * What to do while somebody else has the row: wait for it; throw at once (`nowait`); or take another row that fits
   * and is free, and `null` if there is none (`skipLocked`: workers that share a table of jobs).
   *
   * @default "wait"
   */
  readonly mode?: "wait" | "nowait" | "skipLocked" | undefined;
  /**
   * Milliseconds to wait at the most, 1 to 86,400,000; with `wait` only.
   *
   * @default the server's: for ever on PostgreSQL, 50 s on MySQL; and never longer than the transaction's own limit
   */
  readonly timeoutMs?: number | undefined;
}

const suffixes = { wait: "FOR UPDATE", nowait: "FOR UPDATE NOWAIT", skipLocked: "FOR UPDATE SKIP LOCKED" };

function checkOptions({ mode = "wait", timeoutMs }: LockRowOptions): void {
  if (!Object.hasOwn(suffixes, mode)) {
    throw new InvalidArgumentError(
      `mode must be "wait", "nowait" or "skipLocked", got ${JSON.stringify(mode)}.`,
    );
  }
  if (timeoutMs === undefined) return;
  if (mode !== "wait") {
    throw new InvalidArgumentError(
      `timeoutMs goes with the mode "wait" only, got it with ${JSON.stringify(mode)}.`,
    );
  }
  checkMs("timeoutMs", timeoutMs, 1);
}

/**
 * MySQL knows a limit for one statement as a hint, MariaDB as a prefix in a comment that only it reads. Both count
 * milliseconds; `innodb_lock_wait_timeout` counts seconds, and would have to be put back.
 */
const mysqlLimit = (timeoutMs: number): { readonly prefix: string; readonly hint: string } => ({
  prefix: `/*M! SET STATEMENT max_statement_time=${timeoutMs / 1000} FOR */ `,
  hint: `/*+ MAX_EXECUTION_TIME(${timeoutMs}) */ `,
});

/** Runs `work` with PostgreSQL's `lock_timeout` set, and puts the caller's back where the transaction goes on. */
async function withLockTimeout<T>(session: Session, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const before = await session.fetchOne<{ was: string }>(
    "SELECT current_setting('lock_timeout') AS was, set_config('lock_timeout', :limit, true)",
    { limit: `${timeoutMs}ms` },
  );
  const result = await work();
  await session.fetchOne("SELECT set_config('lock_timeout', :was, true)", { was: before?.was ?? "0" });
  return result;
}

async function lock(
  session: Session,
  table: string,
  where: Columns,
  { mode = "wait", timeoutMs }: LockRowOptions,
): Promise<Row | null> {
  const { dialect } = session;
  const condition = conditions(dialect, "where", where);
  const limitMs = timeoutMs === undefined ? undefined : Math.ceil(timeoutMs);
  const { prefix, hint } =
    limitMs === undefined || dialect === "postgres" ? { prefix: "", hint: "" } : mysqlLimit(limitMs);
  // A second row would show that the condition picks no single one. Of free ones, any will do.
  const most = mode === "skipLocked" ? 1 : 2;
  const sql = `${prefix}SELECT ${hint}* FROM ${quoteTable(dialect, table)} WHERE ${condition.sql} LIMIT ${most} ${suffixes[mode]}`;
  const select = (): Promise<Row[]> => session.fetchAll(sql, condition.values);
  const rows = await (limitMs !== undefined && dialect === "postgres"
    ? withLockTimeout(session, limitMs, select)
    : select());
  if (rows.length > 1) {
    throw new InvalidArgumentError(
      `where must pick one row of ${table}, got several: name the columns of its primary or a unique key (${Object.keys(where).join(", ")} are none).`,
    );
  }
  return rows[0] ?? null;
}

function lockError(session: Session, table: string, error: unknown, waitedMs: number): unknown {
  const isLate = verdictOf(session.dialect, error) === "statement-timeout";
  if (!isLate && !(error instanceof LockTimeoutError)) return error;
  return new LockTimeoutError(
    `The row of ${table} was not free (waited ${Math.round(waitedMs)} ms). The transaction must be rolled back; another one may try again.`,
    { lock: table, waitedMs, cause: error instanceof LockTimeoutError ? error.cause : error },
  );
}

/**
 * Locks the row that `where` picks by its key until the transaction ends, and returns it as it is now, whatever an
 * earlier read in this transaction saw. `null`: there is no such row, and nothing is locked.
 *
 * @throws {LockTimeoutError} it was not free in time; the transaction must be rolled back.
 * @throws {RolledBackError} a deadlock; or on PostgreSQL and MariaDB (11.6), above read committed, the row changed since this
 * transaction first read.
 */
export async function lockRow<R extends object = Row>(
  session: Session,
  table: string,
  where: Columns,
  options: LockRowOptions = {},
): Promise<R | null> {
  checkOptions(options);
  const startedAt = performance.now();
  const tell = (outcome: LockWaitEvent["outcome"], failure: { readonly error?: unknown }): void => {
    if (!isHeard()) return;
    const waitedMs = performance.now() - startedAt;
    publish({ kind: "row-lock", dialect: session.dialect, lock: table, outcome, waitedMs, ...failure });
  };
  try {
    const row = await lock(session, table, where, options);
    tell(row === null ? "missing" : "locked", {});
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the caller's word, as with fetchOne
    return row as R | null;
  } catch (error) {
    const known = lockError(session, table, error, performance.now() - startedAt);
    tell(known instanceof LockTimeoutError ? "timeout" : "failed", { error: known });
    throw known;
  }
}
