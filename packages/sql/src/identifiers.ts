/** Names of tables and columns: validated, then quoted. Values never come this way. */
import { InvalidArgumentError } from "@coord/core";
import type { Dialect, SqlValue } from "./types.ts";

const plain = /^[\p{L}_][\p{L}\p{N}_$]*$/u;
const longestBytes: Readonly<Record<Dialect, number>> = { postgres: 63, mysql: 64 };

function quoted(dialect: Dialect, kind: string, name: string): string {
  if (typeof name !== "string" || !plain.test(name) || Buffer.byteLength(name) > longestBytes[dialect]) {
    throw new InvalidArgumentError(
      `${kind} must be a plain name (letters, digits, _ and $, not beginning with a digit, at most ${longestBytes[dialect]} bytes), got ${JSON.stringify(name)?.slice(0, 100)}. For another name, write the statement yourself.`,
    );
  }
  return dialect === "postgres" ? `"${name}"` : `\`${name}\``;
}

/** `table` or `schema.table`, quoted; PostgreSQL then takes capitals literally. */
export function quoteTable(dialect: Dialect, table: string): string {
  const parts = table.split(".");
  if (parts.length > 2) {
    throw new InvalidArgumentError(
      `A table must be named as "table" or "schema.table", got ${JSON.stringify(table).slice(0, 100)}.`,
    );
  }
  return parts.map((part) => quoted(dialect, "A table's name", part)).join(".");
}

export const quoteColumn = (dialect: Dialect, column: string): string =>
  quoted(dialect, "A column's name", column);

/** Columns and their values. */
export type Columns = Readonly<Record<string, SqlValue>>;

/** A part of a statement with named parameters of its own. */
export interface Part {
  readonly sql: string;
  readonly values: Readonly<Record<string, SqlValue>>;
}

/** `a = :prefix0, b = :prefix1`, joined as asked. */
function pairs(dialect: Dialect, columns: Columns, prefix: string, joint: string): Part {
  const entries = Object.entries(columns);
  const sql = entries.map(([column], i) => `${quoteColumn(dialect, column)} = :${prefix}${i}`).join(joint);
  return { sql, values: Object.fromEntries(entries.map(([, value], i) => [`${prefix}${i}`, value])) };
}

/** The parameter as a 64-bit integer, whatever type the driver sends it as. */
export const integer = (dialect: Dialect, parameter: string): string =>
  `CAST(:${parameter} AS ${dialect === "postgres" ? "bigint" : "SIGNED"})`;

export const assignments = (dialect: Dialect, columns: Columns): Part => pairs(dialect, columns, "set", ", ");

/** The condition that picks a row by values of a key, none of which may be NULL: NULL equals nothing. */
export function conditions(dialect: Dialect, what: string, columns: Columns): Part {
  const entries = Object.entries(columns);
  if (entries.length === 0) {
    throw new InvalidArgumentError(`${what} must name at least one column, as in { id: 42 }, got none.`);
  }
  for (const [column, value] of entries) {
    if (value === null || value === undefined) {
      throw new InvalidArgumentError(
        `${what}.${column} must have a value, got ${value}: NULL equals nothing, so it can't pick a row.`,
      );
    }
  }
  return pairs(dialect, columns, "key", " AND ");
}
