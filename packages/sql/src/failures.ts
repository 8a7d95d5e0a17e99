/** What servers' and drivers' codes mean for a transaction. Message texts are never looked at. */
import { ConfigurationError, isCoordError, UnavailableError } from "@coord/core";
import { LockTimeoutError, RolledBackError } from "./errors.ts";
import type { Dialect } from "./types.ts";

/** What the server said, as far as it said something. */
export type Verdict =
  /** The whole transaction is rolled back; another try may succeed. */
  | "deadlock"
  | "serialization"
  /** A lock was not free in time. */
  | "lock-timeout"
  /** The statement took longer than the limit that it carries. */
  | "statement-timeout"
  /** A unique key is taken. */
  | "duplicate"
  /** The server refused the statement for another reason. */
  | "refused"
  /** The server ended the session, or can't be believed: the connection is of no more use. */
  | "ended"
  /** The server said nothing: the connection failed, or the error is none of a driver. */
  | "silent";

const postgresVerdicts: Readonly<Record<string, Verdict>> = {
  "40P01": "deadlock",
  "40001": "serialization",
  "40003": "ended",
  "55P03": "lock-timeout",
  "23505": "duplicate",
  "57P01": "ended",
  "57P02": "ended",
  "57P03": "ended",
  "57P04": "ended",
  "57P05": "ended",
  "25P03": "ended",
  "25P04": "ended",
};

const mysqlVerdicts: Readonly<Record<number, Verdict>> = {
  1213: "deadlock",
  1020: "serialization", // MariaDB's innodb_snapshot_isolation, on from 11.6
  3101: "serialization", // Group Replication's certification
  1205: "lock-timeout",
  3572: "lock-timeout", // NOWAIT
  3024: "statement-timeout",
  1969: "statement-timeout", // MariaDB
  1062: "duplicate",
  1586: "duplicate",
  1053: "ended", // shutdown
  1180: "ended", // error during commit
  1317: "ended", // killed
  1927: "ended",
  3169: "ended",
  // The network or the server's patience gave out.
  1152: "ended",
  1158: "ended",
  1159: "ended",
  1160: "ended",
  1161: "ended",
  1184: "ended",
  4031: "ended",
};

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;

/** Where drivers, query builders and ORMs keep the error that they wrap. */
const wrappings = ["cause", "driverError", "originalError", "driverAdapterError", "meta"];
const deepestWrapping = 8;

/** The error and those that it wraps. */
function* unwrapped(error: unknown): Generator<Readonly<Record<string, unknown>>> {
  let layer: unknown = error;
  for (let depth = 0; depth < deepestWrapping && isObject(layer); depth++) {
    yield layer;
    const inside: Readonly<Record<string, unknown>> = layer;
    layer = wrappings.map((name) => inside[name]).find((value) => isObject(value));
  }
}

function stateOf(layer: Readonly<Record<string, unknown>>): string | undefined {
  for (const code of [layer["code"], layer["originalCode"]]) {
    // Five capitals or digits, unlike Node's ECONNRESET; EPIPE is of that shape.
    if (typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) && code !== "EPIPE" && !/^P\d{4}$/.test(code))
      return code;
  }
  return undefined;
}

function numberOf(layer: Readonly<Record<string, unknown>>): number | undefined {
  for (const code of [layer["errno"], layer["code"], layer["originalCode"]]) {
    const number = typeof code === "string" && /^\d{4,5}$/.test(code) ? Number(code) : code;
    if (typeof number === "number" && number >= 1000) return number;
  }
  return undefined;
}

/** What the server said; `silent` where it said nothing. */
export function verdictOf(dialect: Dialect, error: unknown): Verdict {
  for (const layer of unwrapped(error)) {
    if (dialect === "postgres") {
      const state = stateOf(layer);
      if (state !== undefined)
        return postgresVerdicts[state] ?? (state.startsWith("08") ? "ended" : "refused");
    } else {
      const number = numberOf(layer);
      if (number !== undefined) return mysqlVerdicts[number] ?? "refused";
    }
  }
  return "silent";
}

/** Whether the error is what a driver says when a socket fails. */
function isBrokenConnection(error: unknown): boolean {
  for (const { code, fatal } of unwrapped(error)) {
    if (fatal === true) return true;
    if (typeof code === "string" && /^(?:E[A-Z]{3,}|PROTOCOL_.*)$/.test(code) && !code.startsWith("ER_"))
      return true;
  }
  return false;
}

/** Whether a statement's error ends its whole transaction, so that nothing may follow but the rollback. */
export const endsTransaction = (dialect: Dialect, verdict: Verdict): boolean =>
  dialect === "postgres" || (verdict !== "duplicate" && verdict !== "refused");

/**
 * The error that a session throws for a statement's error: one of this library where its meaning is known. On a
 * connection of our own (`isOwn`), an error that is not the server's means that the connection is broken.
 */
export function mapped(dialect: Dialect, error: unknown, isOwn: boolean): unknown {
  if (isCoordError(error)) return error;
  const options = { cause: error };
  switch (verdictOf(dialect, error)) {
    case "deadlock":
      return new RolledBackError(
        "deadlock",
        "Two transactions waited for each other, and the server has rolled this one back. Run it again from its beginning (withOccRetry does), and lock rows in one order everywhere.",
        options,
      );
    case "serialization":
      return new RolledBackError(
        "serialization",
        "Another transaction changed what this one read, and the server has rolled this one back. Run it again from its beginning (withOccRetry does).",
        options,
      );
    case "lock-timeout":
      return new LockTimeoutError(
        "A lock was not free in time. The transaction must be rolled back; another one may try again.",
        options,
      );
    case "ended":
      return new UnavailableError("The server ended the session, and with it the transaction.", {
        ...options,
        notDone: true,
      });
    case "silent":
      return isOwn || isBrokenConnection(error)
        ? new UnavailableError("The connection failed, and the transaction with it.", {
            ...options,
            notDone: true,
          })
        : error;
    case "statement-timeout":
    case "duplicate":
    case "refused":
      return error;
    default:
      return error;
  }
}

/** The error for a connection that could not be had; nothing was sent. */
export function unreachable(error: unknown): unknown {
  if (isCoordError(error)) return error;
  const number = isObject(error) ? error["errno"] : undefined;
  const code = isObject(error) && typeof error["code"] === "string" ? error["code"] : undefined;
  const denied = code?.startsWith("28") === true || number === 1044 || number === 1045 || number === 1049;
  const shown = code === undefined ? "" : ` (${code})`;
  if (denied || code === "3D000") {
    return new ConfigurationError(
      `The server let the pool's connection not in${shown}: check user, password and database.`,
      { cause: error },
    );
  }
  return new UnavailableError(`No connection could be had from the pool${shown}; nothing was done.`, {
    cause: error,
    notDone: true,
  });
}
