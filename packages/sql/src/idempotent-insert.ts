import { ConfigurationError, InvalidArgumentError } from "@coord/core";
import { tellingWrite } from "./events.ts";
import { verdictOf } from "./failures.ts";
import { type Columns, conditions, quoteColumn, quoteTable } from "./identifiers.ts";
import { ownerOf } from "./session.ts";
import type { Session } from "./types.ts";

export interface IdempotentInsert {
  /** The columns of the primary or unique key whose conflict means that the row is there already. */
  readonly key: readonly string[];
}

const insertText = (session: Session, table: string, values: Columns): string => {
  const columns = Object.keys(values);
  const names = columns.map((column) => quoteColumn(session.dialect, column)).join(", ");
  return `INSERT INTO ${quoteTable(session.dialect, table)} (${names}) VALUES (${columns.map((_, i) => `:v${i}`).join(", ")})`;
};

const insertValues = (values: Columns): Columns =>
  Object.fromEntries(Object.values(values).map((value, i) => [`v${i}`, value]));

function keyOf(values: Columns, key: readonly string[]): Columns {
  if (!Array.isArray(key) || key.length === 0) {
    throw new InvalidArgumentError(
      "key must list the columns of a primary or unique key, as in ['request_id'], got none.",
    );
  }
  return Object.fromEntries(
    key.map((column) => {
      const value = Object.hasOwn(values, column) ? values[column] : undefined;
      if (value === undefined || value === null) {
        throw new InvalidArgumentError(
          `values.${column} must have a value, as it is a part of the key, got ${String(value)}: rows with NULL in it never conflict.`,
        );
      }
      return [column, value];
    }),
  );
}

/** PostgreSQL compares the key alone, and refuses a key that no unique index has (42P10). */
async function insertOnPostgres(
  session: Session,
  table: string,
  values: Columns,
  key: Columns,
): Promise<boolean> {
  const columns = Object.keys(key).map((column) => quoteColumn(session.dialect, column));
  const { affectedRows } = await session.execute(
    `${insertText(session, table, values)} ON CONFLICT (${columns.join(", ")}) DO NOTHING`,
    insertValues(values),
  );
  return affectedRows > 0;
}

/** Keys that are known to be unique, by what they were found on. */
const known = new WeakMap<object, Set<string>>();
/** MySQL would insert a second row without a word where the key is not unique. */
async function checkUnique(session: Session, table: string, key: readonly string[]): Promise<void> {
  const owner = ownerOf(session);
  const found = known.get(owner) ?? new Set();
  known.set(owner, found);
  const wanted = key
    .map((column) => column.toLowerCase())
    .toSorted()
    .join();
  if (found.has(`${table} ${wanted}`)) return;
  const [name = "", schema] = table.split(".").toReversed();
  const rows = await session.fetchAll<{ i: string; c: string | null; part: number | null }>(
    `SELECT INDEX_NAME AS i, COLUMN_NAME AS c, SUB_PART AS part FROM information_schema.statistics WHERE TABLE_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :name AND NON_UNIQUE = 0`,
    { schema: schema ?? null, name },
  );
  const indexes = new Map<string, string[]>();
  for (const { i, c, part } of rows) {
    // A prefix or an expression is unique in another sense than the column.
    const column = part === null && c !== null ? c.toLowerCase() : "?";
    indexes.set(i, [...(indexes.get(i) ?? []), column]);
  }
  const isThere = [...indexes.values()].some((columns) => columns.toSorted().join() === wanted);
  if (!isThere) {
    throw new ConfigurationError(
      `${table} has no primary or unique key on exactly (${key.join(", ")}), so nothing keeps the row from being inserted twice: create one, or name the columns of the one that there is.`,
    );
  }
  found.add(`${table} ${wanted}`);
}

/** MySQL tells of a conflict with any unique key, and says which one only in prose: so the key itself is looked up. */
async function insertOnMysql(
  session: Session,
  table: string,
  values: Columns,
  key: Columns,
): Promise<boolean> {
  await checkUnique(session, table, Object.keys(key));
  try {
    await session.execute(insertText(session, table, values), insertValues(values));
    return true;
  } catch (error) {
    if (verdictOf(session.dialect, error) !== "duplicate") throw error;
    const condition = conditions(session.dialect, "key", key);
    // A locking read sees what is committed now; a plain one may see the state before the other insert.
    const row = await session.fetchOne(
      `SELECT 1 AS found FROM ${quoteTable(session.dialect, table)} WHERE ${condition.sql} LOCK IN SHARE MODE`,
      condition.values,
    );
    if (row === null) throw error;
    return false;
  }
}

/**
 * Inserts a row unless a row with the same `key` is there. Another insert of the same key that is not committed yet is
 * waited for. Only that key's conflict counts: with another unique key, and for every other error, it throws.
 *
 * Returns `exists` also where the row's other columns differ: it is the first one that stays. Compare them where that
 * matters.
 *
 * @throws {ConfigurationError} on MySQL, when the key is not unique; PostgreSQL's own error is 42P10.
 */
export function insertIdempotent(
  session: Session,
  table: string,
  values: Columns,
  options: IdempotentInsert,
): Promise<"inserted" | "exists"> {
  const { dialect } = session;
  return tellingWrite(
    { kind: "idempotent-insert", dialect, table },
    async () => {
      const key = keyOf(values, options.key);
      const insert = dialect === "postgres" ? insertOnPostgres : insertOnMysql;
      return (await insert(session, table, values, key)) ? "inserted" : "exists";
    },
    (result) => (result === undefined ? "failed" : result === "inserted" ? "written" : "exists"),
  );
}
