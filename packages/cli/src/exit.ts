import { CommanderError } from "@commander-js/extra-typings";
import { isCoordError } from "@coord/core";
import type { CoordErrorCode } from "@coord/core";

/** Exit codes, after sysexits.h where it has a word for it. A command's own codes pass through unchanged. */
export const exitCodes = {
  ok: 0,
  /** Something that has no code of its own; also what `doctor` found. */
  failed: 1,
  usage: 64,
  /** The key was used with another input, or its output was not kept. */
  data: 65,
  /** The store can't be reached: nobody knows. */
  unavailable: 69,
  /** The lease was lost before the command ended. */
  lost: 70,
  /** Somebody else holds it or was faster: try again later. */
  conflict: 75,
  /** It began once and nobody knows how it ended. */
  uncertain: 76,
  /** No store is configured, or it is not set up. */
  configuration: 78,
  /** As shells say it. */
  notExecutable: 126,
  notFound: 127,
  /** Plus the number of the signal. */
  signal: 128,
} as const;

/** What was typed can't work; says what can. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A verb that ends with a code of its own after it has said why; the message is for `--json`. */
export class ExitError extends Error {
  override readonly name = "ExitError";
  readonly exitCode: number;

  constructor(exitCode: number, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}

const byCode: Readonly<Partial<Record<CoordErrorCode, number>>> = {
  COORD_INVALID_ARGUMENT: exitCodes.usage,
  COORD_CONFIGURATION: exitCodes.configuration,
  COORD_NOT_SET_UP: exitCodes.configuration,
  COORD_CLOCK_OFFSET: exitCodes.configuration,
  COORD_UNAVAILABLE: exitCodes.unavailable,
  COORD_LEASE_LOST: exitCodes.lost,
  COORD_STALE_FENCE: exitCodes.lost,
  COORD_ACQUIRE_TIMEOUT: exitCodes.conflict,
  COORD_EXECUTION_RUNNING: exitCodes.conflict,
  COORD_MOVED: exitCodes.conflict,
  COORD_UNCERTAIN: exitCodes.uncertain,
  COORD_OUTCOME_SUPERSEDED: exitCodes.uncertain,
  COORD_OUTCOME_NOT_COMMITTED: exitCodes.uncertain,
  COORD_ONCE_INPUT_DIFFERS: exitCodes.data,
  COORD_RESPONSE_NOT_STORED: exitCodes.data,
};

/** What the process ends with when `error` was thrown. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof ExitError) return error.exitCode;
  if (error instanceof UsageError) return exitCodes.usage;
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  return isCoordError(error) ? (byCode[error.code] ?? exitCodes.failed) : exitCodes.failed;
}
