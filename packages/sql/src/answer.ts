/** What drivers, query builders and ORMs answer, in one form. */
import { ConfigurationError } from "@coord/core";
import type { Executed, Row } from "./types.ts";

const isObject = (value: unknown): value is Row => typeof value === "object" && value !== null;

const remedy =
  "let `query` resolve to what the driver gave, to `{ rows, rowCount }`, or to rows (fetch) and a count (execute)";

/** mysql2 answers `[rows or header, fields]`, which is unlike a list of rows in that a row is no list. */
function unpacked(answer: unknown): unknown {
  if (!Array.isArray(answer)) return answer;
  const [first]: readonly unknown[] = answer;
  const isPair = Array.isArray(first) || (isObject(first) && "affectedRows" in first && answer.length === 2);
  return isPair ? first : answer;
}

/** The rows of an answer. */
export function rowsOf(answer: unknown): Row[] {
  const inner = unpacked(answer);
  const rows = Array.isArray(inner)
    ? inner
    : isObject(inner)
      ? [inner["rows"], inner["records"]].find((list) => Array.isArray(list))
      : undefined;
  if (Array.isArray(rows) && rows.every(isObject)) return rows;
  // An INSERT, UPDATE or DELETE without RETURNING.
  if (isObject(inner) && "affectedRows" in inner) return [];
  throw new ConfigurationError(`A statement was answered with something that has no rows: ${remedy}.`);
}

function countOf(inner: unknown): number | undefined {
  const count = isObject(inner)
    ? ["affectedRows", "numAffectedRows", "rowCount", "affected", "count"]
        .map((name) => inner[name])
        .find((value) => typeof value === "number" || typeof value === "bigint")
    : inner;
  return typeof count === "number" || typeof count === "bigint" ? Number(count) : undefined;
}

/** How many rows a statement changed, by its answer. */
export function executedOf(answer: unknown): Executed {
  const inner = unpacked(answer);
  const affectedRows = countOf(inner);
  if (affectedRows !== undefined) {
    const insertId = insertIdOf(inner);
    return insertId === undefined ? { affectedRows } : { affectedRows, insertId };
  }
  // A statement that changes no rows, such as SET: the driver has no count for it, and nobody asks for one.
  const isCountless = isObject(inner) && ["rows", "rowCount", "raw"].some((name) => name in inner);
  if (inner !== answer || (isCountless && !Array.isArray(inner))) return { affectedRows: 0 };
  throw new ConfigurationError(`A statement was answered with something that has no count: ${remedy}.`);
}

/** The id that the statement made, if it made one. */
function insertIdOf(inner: unknown): bigint | undefined {
  const id = isObject(inner) ? inner["insertId"] : undefined;
  if (typeof id !== "number" && typeof id !== "bigint" && typeof id !== "string") return undefined;
  return BigInt(id) > 0n ? BigInt(id) : undefined;
}
