/** A session: statements on one connection, and the knowledge of whether its transaction can still commit. */
import { CoordError, InvalidArgumentError } from "@coord/core";
import { executedOf, rowsOf } from "./answer.ts";
import { RolledBackError } from "./errors.ts";
import { endsTransaction, mapped, verdictOf } from "./failures.ts";
import { compile } from "./statement.ts";
import type { Dialect, Executed, Parameters, Query, Row, Session, Statement } from "./types.ts";

/** What the owner of a session's transaction sees of it. */
export interface SessionState {
  readonly session: Session;
  /** Statements that were sent and are not answered yet. */
  readonly pending: number;
  /** The error after which the transaction can only roll back. */
  readonly failure: unknown;
  /** From now on every call is refused. */
  end(): void;
}

/** White space, comments and the like, before the first word. */
const lead = String.raw`^(?:[\s;(]|--[^\n]*|#[^\n]*|/\*[^]*?\*/)*`;
/** These end the transaction behind the session's back. */
const control = new RegExp(
  String.raw`${lead}(BEGIN|COMMIT|END|ABORT|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)|START\s+TRANSACTION|PREPARE\s+TRANSACTION)\b`,
  "i",
);
/** This undoes a failure: back to a savepoint, PostgreSQL goes on. */
const rescue = new RegExp(String.raw`${lead}ROLLBACK\s+(?:WORK\s+|TRANSACTION\s+)?TO\b`, "i");

function checkText(sql: string): void {
  if (typeof sql !== "string")
    throw new InvalidArgumentError(`A statement must be a text, got ${typeof sql}.`);
  const keyword = control.exec(sql);
  if (keyword === null) return;
  throw new InvalidArgumentError(
    `A session must not be sent ${keyword[1]}: return from the function to commit, throw to roll back.`,
  );
}

/** The caller's word for what is in a row. */
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- this is where the documented, unchecked type comes from
const trusted = <R extends object>(rows: Row[]): R[] => rows as unknown as R[];

/** What stays the same over many sessions: their pool. */
const owners = new WeakMap<Session, object>();

/** What knowledge about the database that a session is in may be tied to. */
export const ownerOf = (session: Session): object => owners.get(session) ?? session;

export function createSession(options: {
  readonly dialect: Dialect;
  readonly query: Query;
  /** The pool, where the connection is this library's for the moment. */
  readonly pool?: object;
}): SessionState {
  const { dialect, query, pool } = options;
  const isOwn = pool !== undefined;
  let pending = 0;
  let failed: { readonly error: unknown } | undefined;
  let isOver = false;

  async function run<T>(
    kind: Statement["kind"],
    sql: string,
    parameters: Parameters | undefined,
    read: (answer: unknown) => T,
  ): Promise<T> {
    checkText(sql);
    if (isOver)
      throw new CoordError("COORD_CLOSED", "This session's transaction is over; begin another one.");
    const isRescue = rescue.test(sql);
    if (failed !== undefined && !isRescue) {
      throw new RolledBackError(
        "failed",
        "An earlier statement failed and ended this transaction, so that nothing more can be done in it: let its error pass.",
        { cause: failed.error },
      );
    }
    const statement = compile(kind, dialect, sql, parameters);
    pending++;
    try {
      const result = read(await query(statement));
      if (isRescue) failed = undefined;
      return result;
    } catch (error) {
      const known = mapped(dialect, error, isOwn);
      if (endsTransaction(dialect, verdictOf(dialect, error))) failed ??= { error: known };
      throw known;
    } finally {
      pending--;
    }
  }

  const session: Session = {
    dialect,
    execute: (sql, parameters): Promise<Executed> => run("execute", sql, parameters, executedOf),
    fetchOne: async <R extends object>(sql: string, parameters?: Parameters): Promise<R | null> => {
      const rows = trusted<R>(await run("fetch", sql, parameters, rowsOf));
      if (rows.length > 1) {
        throw new InvalidArgumentError(
          `fetchOne must find one row at the most, got ${rows.length}: pick one in the statement, or use fetchAll.`,
        );
      }
      return rows[0] ?? null;
    },
    fetchAll: async <R extends object>(sql: string, parameters?: Parameters): Promise<R[]> =>
      trusted<R>(await run("fetch", sql, parameters, rowsOf)),
  };
  if (pool !== undefined) owners.set(session, pool);
  return {
    session,
    get pending() {
      return pending;
    },
    get failure() {
      return failed?.error;
    },
    end: () => {
      isOver = true;
    },
  };
}

/**
 * A session in a transaction that somebody else began and will end: a client of `pg` or `mysql2` on which BEGIN was
 * sent, or a function that runs a statement with a query builder or ORM.
 *
 * After an error that ends the transaction (any on PostgreSQL; deadlocks and lock timeouts on MySQL) it refuses
 * further statements. Whether to commit is still the owner's decision: let the error pass, so that it rolls back.
 *
 * @example
 * const session = sessionIn("postgres", ({ text, values }) => trx.executeQuery(CompiledQuery.raw(text, values)));
 */
export function sessionIn(dialect: Dialect, query: Query): Session {
  if (dialect !== "postgres" && dialect !== "mysql") {
    throw new InvalidArgumentError(
      `dialect must be "postgres" or "mysql" (also for MariaDB), got ${JSON.stringify(dialect)}.`,
    );
  }
  if (typeof query !== "function") {
    throw new InvalidArgumentError(
      "query must be a function that runs a statement, as in ({ text, values }) => client.query(text, values).",
    );
  }
  return createSession({ dialect, query }).session;
}
