import { createHash } from "node:crypto";
import { InvalidArgumentError } from "./errors.ts";

/** What survives JSON unchanged, at the type level; interfaces pass, class instances with methods don't. */
export type Jsonable<T> = T extends string | number | boolean | null | undefined
  ? T
  : T extends bigint | symbol | ((...args: never[]) => unknown) | Date | Map<unknown, unknown> | Set<unknown>
    ? never
    : T extends readonly unknown[]
      ? { [K in keyof T]: Jsonable<T[K]> }
      : T extends object
        ? { [K in keyof T]: Jsonable<T[K]> }
        : unknown extends T
          ? unknown
          : never;

const longestShownValue = 60;

/** A value as it may stand in an error message: cut, and never more than a line. */
export function show(value: unknown): string {
  const text =
    typeof value === "string"
      ? JSON.stringify(value)
      : typeof value === "function"
        ? "a function"
        : typeof value === "object" && value !== null
          ? `an object (${value.constructor?.name ?? "without prototype"})`
          : String(value) + (typeof value === "bigint" ? "n" : "");
  return text.length > longestShownValue ? `${text.slice(0, longestShownValue)}…` : text;
}

function refuse(path: string, what: string, remedy: string): never {
  throw new InvalidArgumentError(`${path} is ${what}, which JSON does not keep. ${remedy}`);
}

function check(value: unknown, path: string, above: readonly object[]): void {
  if (value === null || typeof value === "string" || typeof value === "boolean") return;
  if (typeof value === "number") {
    if (!Number.isFinite(value)) refuse(path, String(value), "Use null or a string.");
    return;
  }
  if (typeof value !== "object")
    refuse(path, value === undefined ? "undefined" : show(value), "Use a string, a number or null.");
  if (above.includes(value)) refuse(path, "part of a cycle", "Store plain data.");
  const below = [...above, value];
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i += 1) check(value[i], `${path}[${i}]`, below);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  const plain =
    prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
  if (!plain || "toJSON" in value || value instanceof Map)
    refuse(path, show(value), "Turn it into plain data first.");
  if (Object.getOwnPropertySymbols(value).length > 0) refuse(path, "keyed by a symbol", "Use string keys.");
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) check(item, `${path}.${key}`, below);
  }
}

/**
 * The value as JSON, or an error that names the place which JSON would not keep. Properties that are
 * undefined are left out, as JSON does.
 */
export function encodeJson(value: unknown, what: string, maxBytes: number): string {
  check(value, what, []);
  const text = JSON.stringify(value);
  const bytes = Buffer.byteLength(text);
  if (bytes > maxBytes) {
    throw new InvalidArgumentError(
      `${what} has ${bytes} bytes as JSON, at most ${maxBytes} are kept. Store it elsewhere and keep a reference to it here.`,
    );
  }
  return text;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}

/** JSON with sorted keys: equal data gives equal text. */
export function canonicalJson(value: unknown, what: string, maxBytes: number): string {
  return JSON.stringify(sorted(JSON.parse(encodeJson(value, what, maxBytes))));
}

/** SHA-256 of text, as base64url. */
export function fingerprint(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}
