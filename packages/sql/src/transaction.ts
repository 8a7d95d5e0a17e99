import { InvalidArgumentError, UnavailableError } from "@coord/core";
import { checkNesting, holding } from "./context.ts";
import { CommitUnknownError, RolledBackError } from "./errors.ts";
import { isHeard, publish, type TransactionEvent } from "./events.ts";
import { mapped, verdictOf } from "./failures.ts";
import { checkMs, type Limit, LimitReached, startLimit } from "./limit.ts";
import { checkOut, type Connection, dialectOf, identityOf, type SqlPool } from "./pool.ts";
import { createSession, type SessionState } from "./session.ts";
import type { Dialect, Session } from "./types.ts";

export type Isolation = "read committed" | "repeatable read" | "serializable";

export interface TransactionOptions {
  /** @default the server's: read committed on PostgreSQL, repeatable read on MySQL */
  readonly isolation?: Isolation | undefined;
  /**
   * Milliseconds for all of it, from the wait for a connection to the answer to COMMIT; 1 to 86,400,000. Then the
   * connection is cut and the call rejects, whatever the function is still doing.
   *
   * @default 30_000
   */
  readonly timeoutMs?: number | undefined;
  /** Ends it like `timeoutMs` does. */
  readonly signal?: AbortSignal | undefined;
}

const isolations: readonly unknown[] = ["read committed", "repeatable read", "serializable"];

/** Not longer than the limit, nor than what is set for the role: then the server gives up by itself what we hung up on. */
const serverLimit = (
  timeoutMs: number,
): string => `SELECT set_config('statement_timeout', (extract(epoch FROM least(
  nullif(current_setting('statement_timeout')::interval, interval '0'), ${Math.ceil(timeoutMs)} * interval '1 ms')) * 1000)::int::text, true)`;

async function begin(
  connection: Connection,
  isolation: Isolation | undefined,
  timeoutMs: number,
): Promise<void> {
  if (connection.dialect === "postgres") {
    const level = isolation === undefined ? "" : ` ISOLATION LEVEL ${isolation.toUpperCase()}`;
    await connection.control(`BEGIN${level}; ${serverLimit(timeoutMs)}`);
    return;
  }
  // Without SESSION it counts for the next transaction only, so nothing is left behind in the pool.
  if (isolation !== undefined)
    await connection.control(`SET TRANSACTION ISOLATION LEVEL ${isolation.toUpperCase()}`);
  await connection.control("START TRANSACTION");
}

/** Whether the server says of itself that it rolled back: COMMIT of a failed transaction is no error on PostgreSQL. */
const isRollback = (answer: unknown): boolean =>
  typeof answer === "object" && answer !== null && "command" in answer && answer.command === "ROLLBACK";

/**
 * Sends COMMIT. Only the server's own word counts; whatever else happens, the outcome is unknown.
 *
 * @throws {CommitUnknownError}
 */
async function commit(connection: Connection, limit: Limit, result: unknown): Promise<void> {
  let answer: unknown;
  try {
    answer = await limit.race(connection.control("COMMIT"));
  } catch (error) {
    const verdict = verdictOf(connection.dialect, error);
    if (verdict !== "silent" && verdict !== "ended") throw mapped(connection.dialect, error, true);
    throw new CommitUnknownError(
      "COMMIT was sent and no answer came: the transaction is committed in full or not at all. Find out by reading (an idempotency key in a table of yours tells), before doing it again.",
      { result, cause: error },
    );
  }
  if (isRollback(answer)) throw swallowed(undefined);
}

const swallowed = (cause: unknown): RolledBackError =>
  new RolledBackError(
    "failed",
    "A statement failed and the function returned all the same, so the transaction was rolled back: let the statement's error pass, or use a savepoint.",
    { cause },
  );

function unawaited(pending: number): InvalidArgumentError {
  return new InvalidArgumentError(
    `The function returned while ${pending} of its statement(s) had no answer yet, so the transaction was rolled back: await each one.`,
  );
}

/** Why the transaction can't be committed though its function returned. */
function obstacle({ failure, pending }: SessionState): Error | undefined {
  if (pending > 0) return unawaited(pending);
  return failure === undefined ? undefined : swallowed(failure);
}

/** What the caller hears when the limit ended a transaction whose COMMIT was not sent; an abort's reason as it is. */
function overdue(error: unknown): unknown {
  if (!(error instanceof LimitReached)) return error;
  if (error.abort !== undefined) return error.abort.reason;
  return new UnavailableError(
    `The transaction was given up, as ${error.message}, and is rolled back. Make it shorter, or raise timeoutMs.`,
    { cause: error, notDone: true },
  );
}

/** The bit of mysql2's `serverStatus` that says that a transaction is open. */
const inTransaction = 1;

/** @throws {InvalidArgumentError} when MySQL says that no transaction is open any more. */
function checkStillOpen(answer: unknown): void {
  const [header]: readonly unknown[] = Array.isArray(answer) ? answer : [];
  const status =
    typeof header === "object" && header !== null && "serverStatus" in header
      ? header.serverStatus
      : undefined;
  if (typeof status !== "number" || (status & inTransaction) !== 0) return;
  throw new InvalidArgumentError(
    "The statement has ended the transaction, as DDL does on MySQL: what came before it is committed, and nothing more is done. Run it outside of transactions.",
  );
}

async function perform<T>(
  pool: object,
  connection: Connection,
  limit: Limit,
  fn: (session: Session) => Promise<T>,
  options: TransactionOptions & { readonly timeoutMs: number },
  note: (outcome: TransactionEvent["outcome"]) => void,
): Promise<T> {
  const { dialect } = connection;
  let isClean = false;
  const rollBack = async (): Promise<void> => {
    // What the function left unanswered comes before it, in order.
    await limit.race(connection.control("ROLLBACK"));
    isClean = true;
  };
  const state = createSession({
    dialect,
    query: async (statement) => {
      try {
        const answer = await limit.race(connection.send(statement));
        if (dialect === "mysql") checkStillOpen(answer);
        return answer;
      } catch (error) {
        throw overdue(error);
      }
    },
    pool,
  });
  try {
    await limit.race(begin(connection, options.isolation, options.timeoutMs)).catch((error: unknown) => {
      throw error instanceof LimitReached ? error : mapped(dialect, error, true);
    });
    note("rolled-back");
    let result: T;
    try {
      result = await limit.race((async () => fn(state.session))());
      const reason = obstacle(state);
      if (reason !== undefined) throw reason;
    } catch (error) {
      state.end();
      // The error of the function is what the caller hears, also where the rollback fails and the connection is cut.
      if (!limit.isReached) await rollBack().catch(() => {});
      throw overdue(error);
    }
    state.end();
    note("unknown");
    try {
      await commit(connection, limit, result);
    } catch (error) {
      if (!(error instanceof CommitUnknownError)) {
        note("rolled-back");
        // The server has answered, and PostgreSQL's transaction is over in any case.
        isClean = dialect === "postgres";
      }
      throw error;
    }
    isClean = true;
    note("committed");
    return result;
  } catch (error) {
    throw overdue(error);
  } finally {
    state.end();
    if (isClean) connection.release();
    else connection.destroy();
  }
}

function checkOptions({ isolation, timeoutMs }: TransactionOptions, fn: unknown): void {
  if (typeof fn !== "function") {
    throw new InvalidArgumentError(
      "transaction must be given a function, as in transaction(pool, async (session) => …).",
    );
  }
  if (isolation !== undefined && !isolations.includes(isolation)) {
    throw new InvalidArgumentError(
      `isolation must be "read committed", "repeatable read" or "serializable", got ${JSON.stringify(isolation)}.`,
    );
  }
  if (timeoutMs !== undefined) checkMs("timeoutMs", timeoutMs, 1);
}

/**
 * Runs `fn` in one transaction on a connection of the pool: committed when `fn` returns, rolled back when it throws,
 * and the error of `fn` is rethrown unchanged. A connection whose state is in doubt is cut, never given back.
 *
 * It is not repeated by itself; `withOccRetry` does that.
 *
 * @throws {CommitUnknownError} COMMIT was sent and not answered: it may have happened.
 * @throws {RolledBackError} the server rolled back (deadlock, serialization), or `fn` swallowed a statement's error.
 * @throws {UnavailableError} no connection, or `timeoutMs` was reached; nothing happened (`notDone`).
 * @throws {CoordError} `COORD_REENTRANT` inside another transaction of the same pool.
 */
export async function transaction<T>(
  pool: SqlPool,
  fn: (session: Session) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  const dialect = dialectOf(pool);
  checkOptions(options, fn);
  checkNesting(pool, undefined);
  const timeoutMs = options.timeoutMs ?? 30_000;
  const limit = startLimit(timeoutMs, options.signal);
  const tell = startTelling(dialect);
  try {
    const connection = await checkOut(pool, limit);
    const value = await holding(pool, undefined, () =>
      perform(identityOf(pool), connection, limit, fn, { ...options, timeoutMs }, (outcome) =>
        tell.note(outcome),
      ),
    );
    tell.end({});
    return value;
  } catch (error) {
    tell.end({ error });
    throw error;
  } finally {
    limit.end();
  }
}

/** Remembers how far the transaction has come, for the event at its end. */
function startTelling(dialect: Dialect): {
  note(outcome: TransactionEvent["outcome"]): void;
  end(failure: { readonly error?: unknown }): void;
} {
  if (!isHeard()) return { note: () => {}, end: () => {} };
  const startedAt = performance.now();
  let outcome: TransactionEvent["outcome"] = "unstarted";
  return {
    note: (reached) => {
      outcome = reached;
    },
    end: (failure) =>
      publish({
        kind: "transaction",
        dialect,
        outcome,
        durationMs: performance.now() - startedAt,
        ...failure,
      }),
  };
}
