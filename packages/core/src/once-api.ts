/** The types of `once`, as its callers see them. */
import type { Grant, Within } from "./backend.ts";
import type { RecordedFailure } from "./errors.ts";
import type { Jsonable } from "./json.ts";
import type { ExecutionStatus, LogEntry } from "./once-record.ts";

/** What a function may return: anything that JSON keeps, or nothing. */
export type Storable<T> = [T] extends [void] ? T : T & Jsonable<T>;

/** What becomes of an execution whose function threw. */
export type OnError = "uncertain" | "retryable" | "final";

/** One run of a function under `once`, which this process holds the claim of. */
export interface Execution {
  readonly key: string;
  /** Comes from the namespace and the key, the same for every attempt: pass it downstream. 43 characters. */
  readonly idempotencyKey: string;
  /** The fencing token: write it with everything the run writes, and refuse older ones there. */
  readonly fence: bigint;
  /** What a backend recognises the claim by, for `backend.within(tx).verify(execution)`. */
  readonly grant: Grant;
  /** Which run of this key it is, from 1; higher after a retryable failure, a probe, or a person's decision. */
  readonly attempt: number;
  /** What this run or an earlier one saved last; `undefined` if nothing ever was. */
  readonly progress: unknown;
  /**
   * Aborts with a `LeaseLostError` before the claim can lapse, at `maxHoldMs`, when somebody resolved the
   * execution, and once its outcome is recorded. Pass it to whatever the function waits for.
   */
  readonly signal: AbortSignal;
  /** Milliseconds until the function must stop unless the claim is renewed; 0 when it is not held. */
  readonly remainingMs: number;
  /** Throws `LeaseLostError` if the claim is not held any more, by the clock. No I/O. */
  assertHeld(): void;
  /**
   * Stores at most 256 KiB of JSON that a later attempt, a probe or a person finds if this run ends without
   * an answer. Saves go one at a time, in order. Throws `InvalidArgumentError`, `LeaseLostError`,
   * `UnavailableError`.
   */
  save<T>(progress: T & Jsonable<T>): Promise<void>;
  /**
   * Records the response in a transaction that the function began and ends itself: the answer commits
   * together with its writes. Let whatever it throws roll the transaction back: `InvalidArgumentError` for
   * what JSON does not keep, `LeaseLostError` when the claim is somebody else's, `COORD_OUTCOME_SUPERSEDED`
   * when the execution has ended already. Return the same response from the function afterwards. Keep the
   * transaction under a third of the ttl: its lock delays the renewal.
   */
  complete<T>(response: Storable<T>, options: { readonly within: Pick<Within, "release"> }): Promise<void>;
}

/** An execution that began and nobody knows how it ended. */
export interface UncertainExecution<Input> {
  readonly key: string;
  /** As the runs had it. */
  readonly idempotencyKey: string;
  /** Of the run that is uncertain. */
  readonly fence: bigint;
  readonly attempt: number;
  readonly input: Input;
  /** What was saved last by any run. */
  readonly progress: unknown;
  /** When the first run began, by the wall clock of its process. */
  readonly startedAt: Date;
  /** Aborts with the caller's signal, and when the coordinator is closed. */
  readonly signal: AbortSignal;
}

/**
 * - `completed`: the effect happened, and this is its response.
 * - `not-done`: it did not happen *and it will not happen any more*; the function runs again.
 * - `unknown`: it stays uncertain.
 */
export type ProbeAnswer<T> =
  | { readonly status: "completed"; readonly response: T }
  | { readonly status: "not-done" }
  | { readonly status: "unknown" };

export interface OnceOptions<Input = undefined, T = unknown> {
  /**
   * What the execution works on: plain JSON, at most 256 KiB. The function gets a copy of it. Only its
   * fingerprint is stored: the same key with another input is refused (`COORD_ONCE_INPUT_DIFFERS`).
   * @default undefined
   */
  input?: Input | undefined;
  /** How long a silent process keeps its claim, after which it is uncertain. @default the coordinator's */
  ttlMs?: number | undefined;
  /** How long one run may take with all its renewals, from `ttlMs`. @default 10 × ttlMs */
  maxHoldMs?: number | undefined;
  /** How long to wait while somebody else runs it; `Infinity` = until the signal aborts. @default 0 */
  waitMs?: number | undefined;
  /**
   * What becomes of it when the function throws. `uncertain`: the effect may have happened; kept until
   * somebody decides. `retryable`: it did not happen; the next call runs it again. `final`: that is the
   * answer, and later calls get a `RecordedFailureError`. `throw notDone(error)` says `retryable` in place.
   * The error itself reaches the first caller in every case. @default 'uncertain'
   */
  onError?: OnError | ((error: unknown) => OnError) | undefined;
  /**
   * `rerun`: an uncertain execution is run again, for those whose downstream honours
   * `execution.idempotencyKey`; see `rerunWithinMs`. @default 'report'
   */
  onUncertain?: "report" | "rerun" | undefined;
  /** How long after the first run began it may be rerun: how long downstream knows its key. @default 86400000 (24 h) */
  rerunWithinMs?: number | undefined;
  /**
   * Asks downstream what became of an uncertain execution: at once when its function threw, and one ttl after
   * the claim of a process that died or stopped has lapsed. An error that it throws counts as `unknown`.
   */
  probe?: ((execution: UncertainExecution<Input>) => Promise<ProbeAnswer<T>> | ProbeAnswer<T>) | undefined;
  /**
   * How long the answer is kept, from 3,600,000 (1 h); `null` = for ever. After it the key may run again.
   * Uncertain executions are kept until they are resolved. @default 2592000000 (30 days)
   */
  retainMs?: number | null | undefined;
  /** Ends the wait for the claim; a function that has begun is not ended by it. */
  signal?: AbortSignal | undefined;
  /** @default the coordinator's */
  holder?: string | undefined;
}

export interface Completed<T> {
  readonly status: "completed";
  readonly key: string;
  /** A copy that went through JSON, for the first caller as for all others. */
  readonly response: T;
  /** False for the one caller whose function ran now. */
  readonly replayed: boolean;
  readonly fence: bigint;
  readonly attempt: number;
}

/** Somebody else runs it, and still did when `waitMs` was over. */
export interface Running {
  readonly status: "running";
  readonly key: string;
  /** Who runs it, where the store was asked. */
  readonly holder: string | undefined;
  /** Milliseconds until its claim lapses unless it is renewed. */
  readonly remainingMs: number;
}

/** It began, and nobody knows how it ended. */
export interface Uncertain {
  readonly status: "uncertain";
  readonly key: string;
  /** What `coord.executions.resolve` takes. */
  readonly fence: bigint;
  readonly attempt: number;
  /** What the probe threw, if it did. */
  readonly cause?: unknown;
}

export type OnceResult<T> = Completed<T> | Running | Uncertain;

/** The function that is run at most once. */
export type Work<Input, T> = (input: Input, execution: Execution) => Promise<Storable<T>> | Storable<T>;

export interface Once {
  /**
   * Runs the function at most once per key within `retainMs`, and answers every other call with what the
   * first one returned; unless a probe or a person declares a run not done. Two round trips for the first
   * call, one for a replay. Rejects with the function's own error, with `RecordedFailureError` for the replay
   * of a final failure, with `OutcomeError` (carrying the response) when the function was done but the record
   * says otherwise, and with `InvalidArgumentError`, `COORD_ONCE_INPUT_DIFFERS`, `COORD_REENTRANT` or
   * `UnavailableError` before it ran.
   */
  <T>(key: string, work: Work<undefined, T>): Promise<OnceResult<T>>;
  <T, Input = undefined>(
    key: string,
    options: OnceOptions<Input, NoInfer<T>> & { input?: (Input & Jsonable<Input>) | undefined },
    work: Work<Input, T>,
  ): Promise<OnceResult<T>>;
}

export interface WrapOnceOptions<Input, T> extends Omit<OnceOptions<Input, T>, "input"> {
  /** The key of an execution, from its input. */
  key: (input: Input) => string;
}

export interface WrapOnce {
  /**
   * The function as one that runs at most once per key of its input, and returns the recorded response ever
   * after. Rejects as `once` and `unwrap` do.
   */
  <T, Input>(
    work: Work<Input, T>,
    options: WrapOnceOptions<Input, NoInfer<T>>,
  ): (input: Input & Jsonable<Input>) => Promise<T>;
}

/** What the store knows of an execution. */
export interface ExecutionInfo {
  readonly key: string;
  readonly status: ExecutionStatus;
  /** What `resolve` takes. */
  readonly fence: bigint;
  /** Who runs it, or ran it last. */
  readonly holder: string;
  /** Runs that began. */
  readonly attempt: number;
  /** Milliseconds until the claim of a running one lapses unless it is renewed. */
  readonly remainingMs: number;
  /** When the first run began, by the wall clock of its process; `undefined` if none did. */
  readonly startedAt: Date | undefined;
  /** SHA-256 of the input's canonical JSON, as base64url. */
  readonly fingerprint: string;
  readonly progress: unknown;
  /** Of a completed one. */
  readonly response: unknown;
  /** Why a completed one has no response. */
  readonly notStored: string | undefined;
  /** Of a failed one. */
  readonly failure: RecordedFailure | undefined;
  /** What happened when, through whom: the last 50 transitions, or fewer if they are long. */
  readonly attempts: readonly LogEntry[];
}

interface Decision {
  /** As `get` or `list` showed it: nothing is changed if it is another by now. */
  fence: bigint;
  /** Who decides; kept in the record. */
  by: string;
  /** Why; at most 1000 characters, kept in the record. */
  note?: string | undefined;
}

/**
 * - `completed`: the effect happened, and this is what callers get from now on.
 * - `not-done`: it did not happen and will not any more: the next call runs it. While its process still
 *   holds the claim, that is not before this process's own deadline.
 * - `failed`: it failed for good; callers get a `RecordedFailureError` with the note.
 */
export type Resolution =
  | (Decision & { as: "completed"; response: unknown })
  | (Decision & { as: "not-done" | "failed" });

export interface Executions {
  /** In byte order of their keys, read in pages while they are asked for; one more read for each. */
  list(options?: {
    prefix?: string | undefined;
    status?: ExecutionStatus | undefined;
  }): AsyncIterable<ExecutionInfo>;
  /** `null` if the store knows nothing of it. */
  get(key: string): Promise<ExecutionInfo | null>;
  /**
   * Decides what an execution came to, by hand. Of two operators with the same fence one wins, and a late
   * finisher either finishes before or is told `COORD_OUTCOME_SUPERSEDED`. Throws `COORD_MOVED` when its
   * fence is another by now or its answer is recorded, which nobody changes any more.
   */
  resolve(key: string, resolution: Resolution): Promise<void>;
  /**
   * All executions as lines of JSON, responses included, to be imported in another store. Stop whoever
   * executes first: what still runs is exported as uncertain.
   */
  export(options?: { prefix?: string | undefined }): AsyncIterable<string>;
  /** Takes lines of `export`. Keys that the store knows already are left as they are, so it may be repeated. */
  import(
    lines: Iterable<string> | AsyncIterable<string>,
  ): Promise<{ readonly imported: number; readonly skipped: readonly string[] }>;
}
