/** From the text and parameters that a caller writes to the statement that a driver is sent. */
import { InvalidArgumentError } from "@coord/core";
import { type Placeholder, placeholdersOf } from "./placeholders.ts";
import type { Dialect, Parameters, SqlValue, Statement } from "./types.ts";

const isList = (value: unknown): value is readonly SqlValue[] => Array.isArray(value);

/** How a value is shown in an error: its type and never its content, which may be a secret. */
function shown(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "number") return String(value);
  return typeof value === "object" ? (value.constructor?.name ?? "an object") : typeof value;
}

function checkValue(dialect: Dialect, where: string, value: unknown, isInList = false): void {
  const refuse = (remedy: string): never => {
    throw new InvalidArgumentError(`The parameter ${where} must not be ${shown(value)}: ${remedy}.`);
  };
  switch (typeof value) {
    case "string":
      if (dialect === "postgres" && value.includes("\0"))
        throw new InvalidArgumentError(
          `The parameter ${where} has the character U+0000, which PostgreSQL can't store: encode it.`,
        );
      return;
    case "bigint":
    case "boolean":
      return;
    case "number":
      if (!Number.isFinite(value) && dialect === "mysql") refuse("MySQL has no such number");
      return;
    case "object":
      if (value === null) return;
      if (value instanceof Date) {
        if (Number.isNaN(value.getTime())) refuse("this date is invalid");
        return;
      }
      if (value instanceof Uint8Array) return;
      if (isList(value)) {
        // mysql2 would write a list or an object out as SQL.
        if (dialect === "mysql")
          refuse("MySQL has no lists; write one placeholder for each value, or pass JSON as text");
        for (const element of value) checkValue(dialect, where, element, true);
        return;
      }
      return refuse("pass JSON.stringify(value)");
    case "undefined":
      return refuse(isInList ? "leave it out, or pass null" : "pass null if NULL is meant");
    case "function":
    case "symbol":
    default:
      return refuse("pass a text, a number, a bigint, a boolean, a Date, bytes or null");
  }
}

function positionalValue(values: readonly SqlValue[], { key }: Placeholder): SqlValue {
  const value = values[Number(key)];
  if (value === undefined) {
    throw new InvalidArgumentError(
      `The statement has a parameter number ${Number(key) + 1}, but ${values.length} value(s) were given, and none may be undefined.`,
    );
  }
  return value;
}

function namedValue(values: Readonly<Record<string, SqlValue>>, { key }: Placeholder): SqlValue {
  const value = Object.hasOwn(values, key) ? values[key] : undefined;
  if (value === undefined) {
    const given = Object.keys(values).map((name) => `:${name}`);
    throw new InvalidArgumentError(
      `The statement has the parameter :${key}, but the values given are ${given.join(", ") || "none"}. Give it a value, or null.`,
    );
  }
  return value;
}

function checkUnused(values: Parameters, used: ReadonlySet<string | number>): void {
  const unused = isList(values)
    ? values.flatMap((_, i) => (used.has(i) ? [] : [`number ${i + 1}`]))
    : Object.keys(values).flatMap((name) => (used.has(name) ? [] : [`:${name}`]));
  if (unused.length === 0) return;
  throw new InvalidArgumentError(
    `The statement does not use the parameter(s) ${unused.join(", ")}: remove them, or look for a typing error in its text.`,
  );
}

const template = (fragments: string[]): TemplateStringsArray => Object.assign(fragments, { raw: fragments });

/**
 * @throws {InvalidArgumentError} when parameters are missing, left over, or of a type that the driver would not send
 * as one value.
 */
export function compile(
  kind: Statement["kind"],
  dialect: Dialect,
  text: string,
  parameters: Parameters | undefined,
): Statement {
  if (parameters === undefined) return { kind, text, values: [], fragments: template([text]) };
  const placeholders = placeholdersOf(dialect, text, isList(parameters) ? "positional" : "named");
  const values = placeholders.map((placeholder) =>
    isList(parameters) ? positionalValue(parameters, placeholder) : namedValue(parameters, placeholder),
  );
  checkUnused(parameters, new Set(placeholders.map(({ key }) => key)));
  for (const [i, value] of values.entries()) {
    const key = placeholders[i]?.key;
    checkValue(dialect, typeof key === "string" ? `:${key}` : `number ${Number(key) + 1}`, value);
  }
  const fragments: string[] = [];
  let from = 0;
  for (const { start, end } of placeholders) {
    fragments.push(text.slice(from, start));
    from = end;
  }
  fragments.push(text.slice(from));
  const sent = fragments.reduce((head, tail, i) => `${head}${dialect === "postgres" ? `$${i}` : "?"}${tail}`);
  return { kind, text: sent, values, fragments: template(fragments) };
}
