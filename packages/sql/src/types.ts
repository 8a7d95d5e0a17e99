/** The words of this package: what a statement takes, what it gives, and the session that runs it. */

export type Dialect = "postgres" | "mysql";

/** What a parameter may be. Lists are for PostgreSQL's arrays only; JSON goes in as text. */
export type SqlValue = string | number | bigint | boolean | null | Date | Uint8Array | readonly SqlValue[];

/** By name for `:name`; by position for `$1`, `$2` (PostgreSQL) or `?`, `?` (MySQL). */
export type Parameters = Readonly<Record<string, SqlValue>> | readonly SqlValue[];

/** A row as the driver gives it. */
export type Row = Readonly<Record<string, unknown>>;

export interface Executed {
  /** Rows that were inserted, updated or deleted; on MySQL, those that an UPDATE matched. */
  readonly affectedRows: number;
  /** MySQL's AUTO_INCREMENT value, where the statement made one and the driver tells. */
  readonly insertId?: bigint | undefined;
}

/**
 * Statements on one connection, in one transaction. It never begins, commits or rolls back: `transaction` does, or
 * the owner of the transaction that `sessionIn` was given.
 *
 * Every method throws `LockTimeoutError` (a lock was not free in time), `RolledBackError` (deadlock, serialization),
 * `UnavailableError` (the connection failed) or else the driver's own error, unchanged.
 */
export interface Session {
  readonly dialect: Dialect;
  /** Runs one statement that changes something. */
  execute(sql: string, parameters?: Parameters): Promise<Executed>;
  /**
   * The row, or `null` where there is none. The type of the row is your word, it is not checked.
   *
   * @throws {InvalidArgumentError} for more than one row.
   */
  fetchOne<R extends object = Row>(sql: string, parameters?: Parameters): Promise<R | null>;
  /** All rows. Their type is your word, it is not checked. */
  fetchAll<R extends object = Row>(sql: string, parameters?: Parameters): Promise<R[]>;
}

/** One statement on its way to a driver, in each of the forms that drivers and query builders take. */
export interface Statement {
  /** `fetch` wants rows, `execute` the number of affected rows. */
  readonly kind: "fetch" | "execute";
  /** With the dialect's own placeholders: `$1`, `$2` … or `?`. */
  readonly text: string;
  readonly values: SqlValue[];
  /** The text around the values, as the tag of a template gets it: one more than there are values. */
  readonly fragments: TemplateStringsArray;
}

/**
 * Runs one statement in an open transaction, with whatever the transaction belongs to. It may resolve to an answer of
 * `pg` or `mysql2`, of Knex, Kysely, Drizzle or TypeORM, to rows, or to a count.
 */
export type Query = (statement: Statement) => Promise<unknown>;
