/** Every code that this library throws; each has a heading in the errors guide. */
export type CoordErrorCode =
  | "COORD_INVALID_ARGUMENT"
  | "COORD_CONFIGURATION"
  | "COORD_NOT_SET_UP"
  | "COORD_UNAVAILABLE"
  | "COORD_LEASE_LOST"
  | "COORD_STALE_FENCE"
  | "COORD_ACQUIRE_TIMEOUT"
  | "COORD_REENTRANT"
  | "COORD_MOVED"
  | "COORD_CLOCK_OFFSET"
  | "COORD_CLOSED"
  | "COORD_EXECUTION_RUNNING"
  | "COORD_UNCERTAIN"
  | "COORD_ONCE_INPUT_DIFFERS"
  | "COORD_OUTCOME_SUPERSEDED"
  | "COORD_OUTCOME_NOT_COMMITTED"
  | "COORD_RESPONSE_NOT_STORED"
  | "COORD_RECORDED_FAILURE"
  | "COORD_LOCK_TIMEOUT"
  | "COORD_LOCK_LOST"
  | "COORD_CONFLICT"
  | "COORD_ROLLED_BACK"
  | "COORD_COMMIT_UNKNOWN";

const brand = Symbol.for("coord.error");

/** The base of all errors of this library; branch on `code`, or on a subclass where there is one. */
export class CoordError extends Error {
  readonly code: CoordErrorCode;

  constructor(code: CoordErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.name = new.target.name;
    this.code = code;
    Object.defineProperty(this, brand, { value: true });
  }
}

/** Whether `error` comes from this library (also from another copy of it), and has that code if one is given. */
export function isCoordError(error: unknown, code?: CoordErrorCode): error is CoordError {
  return (
    error instanceof Error &&
    brand in error &&
    (code === undefined || ("code" in error && error.code === code))
  );
}

/** An argument broke a rule; nothing was sent. The message names the value, the rule and the remedy. */
export class InvalidArgumentError extends CoordError {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super("COORD_INVALID_ARGUMENT", message, options);
  }
}

/** The store or its client is set up in a way that can't work; repeating does not help. */
export class ConfigurationError extends CoordError {
  constructor(
    message: string,
    options: { cause?: unknown; code?: "COORD_CONFIGURATION" | "COORD_NOT_SET_UP" } = {},
  ) {
    super(options.code ?? "COORD_CONFIGURATION", message, options);
  }
}

/** The outcome is unknown: the step may have happened, unless `notDone` says that it did not. */
export class UnavailableError extends CoordError {
  /** The store says that nothing happened. */
  readonly notDone: boolean;
  /** The store asks not to be called again before that many milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: { cause?: unknown; notDone?: boolean; retryAfterMs?: number } = {}) {
    super("COORD_UNAVAILABLE", message, options);
    this.notDone = options.notDone ?? false;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Why a lease was lost, as far as this process can tell. */
export type LostReason = "deadline" | "refused" | "overheld" | "closed" | "released" | "detached";

/** The lease ended before its holder ended it. Its writes are no longer protected, only fenced. */
export class LeaseLostError extends CoordError {
  readonly key: string;
  readonly fence: bigint;
  /**
   * `deadline`: it could not be renewed in time; `refused`: the store says that it is somebody else's or
   * over; `overheld`: `maxHoldMs` has passed; `closed`: the coordinator was closed; `released`, `detached`:
   * its own holder ended it.
   */
  readonly reason: LostReason;
  /** What the callback of `withLease` returned, when it finished after the loss. */
  readonly result: unknown;

  constructor(
    lease: { readonly key: string; readonly fence: bigint },
    reason: LostReason,
    message: string,
    options: { cause?: unknown; result?: unknown } = {},
  ) {
    super("COORD_LEASE_LOST", message, options);
    this.key = lease.key;
    this.fence = lease.fence;
    this.reason = reason;
    this.result = options.result;
  }
}

/** The resource has seen a newer fence: the write was refused, as it must be. */
export class StaleFenceError extends CoordError {
  readonly key: string;
  readonly fence: bigint;

  constructor(lease: { readonly key: string; readonly fence: bigint }, message: string) {
    super("COORD_STALE_FENCE", message);
    this.key = lease.key;
    this.fence = lease.fence;
  }
}

/** Somebody else held the lease for all of `waitMs`. */
export class AcquireTimeoutError extends CoordError {
  readonly key: string;
  /** Who held it when it was last asked; `undefined` if no answer came. */
  readonly holder: string | undefined;
  /** Milliseconds that the holder's lease still had when it was last asked. */
  readonly remainingMs: number;

  constructor(
    message: string,
    options: { key: string; holder?: string | undefined; remainingMs?: number; cause?: unknown },
  ) {
    super("COORD_ACQUIRE_TIMEOUT", message, "cause" in options ? { cause: options.cause } : {});
    this.key = options.key;
    this.holder = options.holder;
    this.remainingMs = options.remainingMs ?? 0;
  }
}

/** Somebody else runs this execution now; `unwrap` throws it. */
export class ExecutionRunningError extends CoordError {
  readonly key: string;
  /** Who runs it, where the store was asked. */
  readonly holder: string | undefined;
  /** Milliseconds until its claim lapses unless it is renewed. */
  readonly remainingMs: number;

  constructor(running: {
    readonly key: string;
    readonly holder: string | undefined;
    readonly remainingMs: number;
  }) {
    const { key, holder, remainingMs } = running;
    const who = holder === undefined || holder === "" ? "somebody else" : holder;
    super(
      "COORD_EXECUTION_RUNNING",
      `"${key}" is being executed by ${who}. Ask again later, or wait with waitMs.`,
    );
    this.key = key;
    this.holder = holder;
    this.remainingMs = remainingMs;
  }
}

/** Nobody knows whether the effect happened; `unwrap` throws it. A probe or a person must decide. */
export class UncertainError extends CoordError {
  readonly key: string;
  readonly fence: bigint;

  constructor(uncertain: { readonly key: string; readonly fence: bigint; readonly cause?: unknown }) {
    const { key, fence, cause } = uncertain;
    super(
      "COORD_UNCERTAIN",
      `"${key}" (fence ${fence}) began and nobody recorded how it ended: its effect may have happened. Find out, then coord.executions.resolve("${key}", { fence: ${fence}n, … }), or give once a probe.`,
      cause === undefined ? {} : { cause },
    );
    this.key = key;
    this.fence = fence;
  }
}

/** This execution failed for good (`onError: 'final'`), and that is its recorded answer. */
export class RecordedFailureError extends CoordError {
  readonly key: string;
  readonly fence: bigint;
  /** Name, message and code of the error that was thrown then. */
  readonly failure: RecordedFailure;

  constructor(execution: { readonly key: string; readonly fence: bigint }, failure: RecordedFailure) {
    super(
      "COORD_RECORDED_FAILURE",
      `"${execution.key}" failed for good: ${failure.name}: ${failure.message}`,
    );
    this.key = execution.key;
    this.fence = execution.fence;
    this.failure = failure;
  }
}

export interface RecordedFailure {
  readonly name: string;
  /** At most 1000 characters. */
  readonly message: string;
  readonly code?: string | undefined;
}

/** The function was done, but its response is not what the record says. The response is attached. */
export class OutcomeError extends CoordError {
  readonly key: string;
  readonly fence: bigint;
  /** What the function returned; `undefined` for callers who come later. */
  readonly response: unknown;

  constructor(
    code: "COORD_OUTCOME_SUPERSEDED" | "COORD_OUTCOME_NOT_COMMITTED" | "COORD_RESPONSE_NOT_STORED",
    execution: { readonly key: string; readonly fence: bigint },
    message: string,
    options: { cause?: unknown; response?: unknown } = {},
  ) {
    super(code, message, "cause" in options ? { cause: options.cause } : {});
    this.key = execution.key;
    this.fence = execution.fence;
    this.response = options.response;
  }
}
