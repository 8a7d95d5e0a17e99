import type { BackendInfo, Name } from "./backend.ts";
import { InvalidArgumentError } from "./errors.ts";
import { show } from "./json.ts";

/** The key spaces; a key of one never meets a key of another. */
export type Kind = keyof typeof prefixes;

const prefixes = {
  lease: "l",
  execution: "x",
  election: "e",
  candidate: "c",
  system: "s",
} as const;
/** Joins the parts of a stored key; keys can't contain it, as they have no control characters. */
const separator = "\u001F";

export const maxKeyBytes = 512;
export const userPayloadBytes = 262_144;
export const limits = { minTtlMs: 250, maxTtlMs: 86_400_000, minRetainMs: 60_000, maxHolderLength: 255 };

function fail(what: string, value: unknown, rule: string, remedy: string): never {
  throw new InvalidArgumentError(`${what} ${rule}, got ${show(value)}. ${remedy}`);
}

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const control = /[\u0000-\u001F\u007F-\u009F]/;

export function checkKey(key: unknown, what = "key"): string {
  if (typeof key !== "string") fail(what, key, "must be a string", "Pass the name of what you lock.");
  if (key === "") fail(what, key, "must not be empty", "Pass the name of what you lock.");
  if (!key.isWellFormed())
    fail(what, key, "must be well-formed Unicode", "It holds half of a surrogate pair.");
  if (control.test(key)) fail(what, key, "must not contain control characters", "Encode them first.");
  const bytes = Buffer.byteLength(key);
  if (bytes > maxKeyBytes)
    fail(what, key, `must have at most ${maxKeyBytes} bytes as UTF-8, has ${bytes}`, "Hash the long part.");
  return key;
}

export function checkNamespace(namespace: unknown): string {
  if (typeof namespace !== "string" || !/^[A-Za-z_][A-Za-z0-9_-]{0,47}$/.test(namespace)) {
    fail(
      "namespace",
      namespace,
      "must match ^[A-Za-z_][A-Za-z0-9_-]{0,47}$",
      "Use letters, digits, _ and -, beginning with a letter or _.",
    );
  }
  return namespace;
}

/** The name under which a key of this kind is stored. */
export function storedName(namespace: string, kind: Kind, key: string): Name {
  return { namespace, key: `${prefixes[kind]}${separator}${key}` };
}

export function storedPrefix(kind: Kind, prefix: string): string {
  return `${prefixes[kind]}${separator}${prefix}`;
}

/** The key as its user knows it. */
export function userKey(storedKey: string): string {
  return storedKey.slice(storedKey.indexOf(separator) + 1);
}

const isKind = (kind: unknown): kind is Kind => typeof kind === "string" && Object.hasOwn(prefixes, kind);

export function checkKind(kind: unknown): Kind {
  if (isKind(kind)) return kind;
  return fail("kind", kind, `must be one of ${Object.keys(prefixes).join(", ")}`, "Leave it out for leases.");
}

/** A whole number of milliseconds within a range; `Infinity` only where it is said. */
export function checkMs(
  what: string,
  value: unknown,
  range: { min: number; max: number; infinite?: boolean; remedy?: string },
): number {
  if (range.infinite && value === Infinity) return Infinity;
  if (typeof value === "number" && Number.isInteger(value) && value >= range.min && value <= range.max)
    return value;
  const also = range.infinite ? " or Infinity" : "";
  return fail(
    what,
    value,
    `must be an integer from ${range.min} to ${range.max}${also}`,
    range.remedy ?? "It counts milliseconds.",
  );
}

export function checkTtl(value: unknown, info: BackendInfo, what = "ttlMs"): number {
  const min = Math.max(limits.minTtlMs, info.minTtlMs ?? 0);
  if (typeof value === "number" && value >= limits.minTtlMs && value < min) {
    fail(
      what,
      value,
      `must be at least ${min} with the ${info.name} backend`,
      "Raise it, or use a faster store.",
    );
  }
  return checkMs(what, value, { min, max: limits.maxTtlMs });
}

export function checkWait(value: unknown): number {
  return checkMs("waitMs", value, { min: 0, max: Number.MAX_SAFE_INTEGER, infinite: true });
}

export function checkRetain(value: unknown, min: number = limits.minRetainMs): number | null {
  return value === null ? null : checkMs("retainMs", value, { min, max: Number.MAX_SAFE_INTEGER });
}

export function checkHolder(value: unknown): string {
  if (typeof value !== "string" || value.length > limits.maxHolderLength || !value.isWellFormed())
    fail("holder", value, `must be a string of at most ${limits.maxHolderLength} characters`, "Shorten it.");
  if (control.test(value))
    fail("holder", value, "must not contain control characters", "It is text for people.");
  return value;
}

export function checkFence(value: unknown, what = "fence"): bigint {
  if (typeof value !== "bigint" || value < 0n)
    fail(what, value, "must be a bigint from 0n", "Pass the fence that inspect() showed, as a bigint.");
  return value;
}

export function checkSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined || value instanceof AbortSignal) return value;
  return fail("signal", value, "must be an AbortSignal", "Pass controller.signal.");
}

/** Refuses what is no plain options object, and options that nobody reads (a typo must not pass silently). */
export function checkOptions(value: unknown, known: readonly string[], what = "options"): void {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    fail(what, value, "must be an object", "Leave it out or pass {}.");
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) fail(what, key, `may have ${known.join(", ")}`, "Check the spelling.");
  }
}
