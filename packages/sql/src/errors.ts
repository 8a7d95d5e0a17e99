import { CoordError } from "@coord/core";

/** The lock was not free within the time that was given for it. The transaction that waited can only roll back. */
export class LockTimeoutError extends CoordError {
  /** The table or the lock's name, where it is known. */
  readonly lock: string | undefined;
  /** How long it was waited for, in milliseconds. */
  readonly waitedMs: number;

  constructor(
    message: string,
    options: { lock?: string | undefined; waitedMs?: number; cause?: unknown } = {},
  ) {
    super("COORD_LOCK_TIMEOUT", message, "cause" in options ? { cause: options.cause } : {});
    this.lock = options.lock;
    this.waitedMs = options.waitedMs ?? 0;
  }
}

/** The advisory lock's connection broke while the lock was held: somebody else may have got it meanwhile. */
export class LockLostError extends CoordError {
  readonly lock: string;
  /** What the function returned, where it returned all the same. */
  readonly result: unknown;

  constructor(message: string, options: { lock: string; result?: unknown; cause?: unknown }) {
    super("COORD_LOCK_LOST", message, "cause" in options ? { cause: options.cause } : {});
    this.lock = options.lock;
    this.result = options.result;
  }
}

/** The row has another version than the one that was read, or it is gone. Read it again in a new transaction. */
export class ConflictError extends CoordError {
  readonly table: string | undefined;
  /** How many transactions were tried. */
  readonly attempts: number;

  constructor(
    message: string,
    options: { table?: string | undefined; attempts?: number; cause?: unknown } = {},
  ) {
    super("COORD_CONFLICT", message, "cause" in options ? { cause: options.cause } : {});
    this.table = options.table;
    this.attempts = options.attempts ?? 1;
  }
}

/** Why the server ended a transaction; `failed`: a statement had failed, and its error was swallowed. */
export type RollbackReason = "deadlock" | "serialization" | "failed";

/** The server has rolled the whole transaction back: none of it happened. */
export class RolledBackError extends CoordError {
  readonly reason: RollbackReason;

  constructor(reason: RollbackReason, message: string, options: { cause?: unknown } = {}) {
    super("COORD_ROLLED_BACK", message, options);
    this.reason = reason;
  }
}

/** COMMIT was sent and its answer never came: the transaction is committed in full or not at all, nobody here knows. */
export class CommitUnknownError extends CoordError {
  /** What the function had returned. */
  readonly result: unknown;

  constructor(message: string, options: { result?: unknown; cause?: unknown } = {}) {
    super("COORD_COMMIT_UNKNOWN", message, "cause" in options ? { cause: options.cause } : {});
    this.result = options.result;
  }
}
