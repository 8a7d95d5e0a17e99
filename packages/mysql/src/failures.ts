/** What the server's and the driver's codes mean for a step. Message texts are never looked at. */
import { ConfigurationError, InvalidArgumentError, isCoordError, UnavailableError } from "@coord/core";
import type { CoordError } from "@coord/core";

/** The step did not happen, and may if it is sent again: deadlock, lock wait, a certification conflict. */
const CONFLICTS = new Set([1205, 1213, 3101]);
const TOO_MANY = new Set([1040, 1203, 1226]);
const READ_ONLY = new Set([1290, 1792, 1836]);
const MISSING = new Set([1054, 1146]);
const DENIED = new Set([1044, 1045, 1142, 1143, 1227, 1698]);
const UNFIT_VALUE = new Set([1048, 1153, 1264, 1366, 1406, 1690]);
/** Ended half-way through by somebody: whether it was committed is not known. */
const INTERRUPTED = new Set([1053, 1180, 1317, 1927, 1969, 3024, 3169]);

export function numberOf(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("errno" in error)) return undefined;
  return typeof error.errno === "number" && error.errno > 0 ? error.errno : undefined;
}

export function codeOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

const shown = (error: unknown): string => codeOf(error) ?? `${numberOf(error) ?? "no code"}`;

export const isConflict = (error: unknown): boolean => CONFLICTS.has(numberOf(error) ?? 0);
export const isDuplicate = (error: unknown): boolean => numberOf(error) === 1062;
export const isMissingTable = (error: unknown): boolean => numberOf(error) === 1146;

/** Whether the connection can go back to its pool: the server has answered and will go on doing so. */
export function isUsable(error: unknown): boolean {
  const errno = numberOf(error);
  if (errno === undefined) return isCoordError(error) && !isCoordError(error, "COORD_UNAVAILABLE");
  return !INTERRUPTED.has(errno) && !READ_ONLY.has(errno);
}

/** `phase`: before `connected`, nothing can have been sent. */
export function mapped(error: unknown, phase: "connecting" | "connected"): CoordError {
  if (isCoordError(error)) return error;
  const errno = numberOf(error) ?? 0;
  const options = { cause: error };
  if (MISSING.has(errno)) {
    return new ConfigurationError(
      `The tables of coord are not there or are of another version (${shown(error)}): run \`await coord.setup()\`, or create them from \`schemaSql()\`, in the database that the connections use.`,
      { ...options, code: "COORD_NOT_SET_UP" },
    );
  }
  if (errno === 1046 || errno === 1049) {
    return new ConfigurationError(
      `The database of the connections is not chosen or does not exist (${shown(error)}): create it and name it in the URL or in the pool's \`database\`.`,
      { ...options, code: "COORD_NOT_SET_UP" },
    );
  }
  if (DENIED.has(errno)) {
    return new ConfigurationError(
      `MySQL denied it (${shown(error)}): check user and password, and grant SELECT, INSERT, UPDATE and DELETE on both tables (CREATE for setup).`,
      options,
    );
  }
  if (errno === 1665) {
    return new ConfigurationError(
      "The server writes its binary log as statements, which can't carry these steps (1665): set binlog_format to ROW or MIXED.",
      options,
    );
  }
  if (UNFIT_VALUE.has(errno)) {
    return new InvalidArgumentError(
      `The store can't hold the value (${shown(error)}): a fence must be below 2^61, a payload must fit into max_allowed_packet twice.`,
      options,
    );
  }
  if (isConflict(error)) {
    return new UnavailableError(`The record was locked by another transaction (${shown(error)}).`, {
      ...options,
      notDone: true,
      retryAfterMs: 50,
    });
  }
  if (READ_ONLY.has(errno)) {
    return new UnavailableError(`The server is read-only (${shown(error)}): is it a replica?`, {
      ...options,
      notDone: true,
      retryAfterMs: 500,
    });
  }
  if (TOO_MANY.has(errno)) {
    return new UnavailableError(`The server takes no more connections (${shown(error)}).`, {
      ...options,
      notDone: true,
      retryAfterMs: 500,
    });
  }
  const answered = errno !== 0 && numberOf(error) !== undefined && !INTERRUPTED.has(errno);
  if (phase === "connecting") {
    return new UnavailableError(`No connection to MySQL (${shown(error)}).`, { ...options, notDone: true });
  }
  return new UnavailableError(
    answered
      ? `MySQL refused the statement (${shown(error)}).`
      : `The answer of MySQL did not arrive (${shown(error)}).`,
    { ...options, notDone: answered },
  );
}
