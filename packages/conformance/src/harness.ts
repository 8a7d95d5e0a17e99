/**
 * What the suite needs to know of a backend. A harness of a few lines makes most cases run; each optional
 * hook brings the cases that need it. A case whose hook is missing is reported as skipped, with the reason.
 */
import type { Backend, Name } from "@coord/core";

export interface Timing {
  /** The shortest ttl in milliseconds that the backend takes. @default the backend's `info.minTtlMs`, else 250 */
  readonly minTtlMs?: number | undefined;
  /**
   * The ttl in milliseconds that cases wait out: at least `minTtlMs`, and long enough for ten calls on a
   * busy machine. @default the larger of 1000 and twice `minTtlMs`
   */
  readonly ttlMs?: number | undefined;
  /**
   * By how many milliseconds an answer about time may be off: one slow call, and the coarseness of the
   * store's clock where the backend's `info.granularityMs` does not say it already. @default 250
   */
  readonly slackMs?: number | undefined;
  /** Milliseconds between two looks while a case waits for something. @default 20 */
  readonly pollMs?: number | undefined;
  /** The time limit of one call in milliseconds (`CallOptions.timeoutMs`). @default 5000 */
  readonly callMs?: number | undefined;
  /** The time limit of one case in milliseconds; then it fails. @default 120000 */
  readonly caseMs?: number | undefined;
}

/** What the adapter says it leaves behind, and how many it wakes. */
export interface Declared {
  /** What `footprint()` may count beyond one record a name, however many names were used. @default 0 */
  readonly footprint?: number | undefined;
  /** How many waiters one release may wake. @default 1 */
  readonly wokenPerRelease?: number | undefined;
  /** Milliseconds in which a wake-up arrives. @default 2000 */
  readonly wakeMs?: number | undefined;
}

/** A lease held by another process, through `createCoordinator` of core. */
export interface Holder {
  readonly pid: number;
  readonly fence: bigint;
  /**
   * Asks the process for a write under its fence: resolves with that fence when the process writes, whether
   * or not it still holds the lease; rejects when it answers that its lease is lost.
   */
  write(): Promise<bigint>;
  /** Sends a signal and, for `SIGKILL`, resolves when the process is gone. */
  kill(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): Promise<void>;
}

/** A store that is set up in a way in which its leases could not be trusted. */
export interface Misconfigured {
  /** What is wrong with it, in a few words. */
  readonly title: string;
  readonly backend: Backend;
  close(): Promise<void>;
}

/**
 * A fresh backend, set up, on a namespace of its own. All hooks are optional; where one can't tell this
 * namespace from others (a server that is paused) the cases that use it run alone.
 */
export interface Opened {
  readonly backend: Backend;
  /** No other `open()` gets the same; 40 characters at most, as cases derive others from it. */
  readonly namespace: string;
  /** A backend on an independent connection to the same store. */
  second(): Promise<Backend>;
  /** Closes both backends and removes what this namespace left in the store. */
  close(): Promise<void>;

  /** Makes the store's time pass for this namespace alone (an injected clock). Without it cases wait. */
  passTime?(ms: number): Promise<void> | void;
  /** Steps the store's clock, back if negative, until `close()`. */
  stepClock?(ms: number): Promise<void> | void;
  /** The next write of `backend` is done by the store, and its reply never arrives. */
  swallowNextReply?(): Promise<void> | void;
  /** Ends every connection of `backend` (not of `second()`) from the server's side, once. */
  killConnections?(): Promise<void>;
  /** Cuts `backend` (not `second()`) off the store; resolves with what heals it. */
  cut?(): Promise<() => Promise<void>>;
  /** The server stops answering and keeps its connections; resolves with what resumes it. */
  pause?(): Promise<() => Promise<void>>;
  /** Kills the server and starts it at the same address with its data; resolves when it answers. */
  restart?(): Promise<void>;
  /** Writes another fence into a record, by the store's own means. */
  writeFence?(name: Name, fence: bigint): Promise<void> | void;
  /** Deletes a record, by the store's own means. */
  deleteRecord?(name: Name): Promise<void> | void;
  /** Locks a record in somebody's open transaction; resolves with what ends that transaction. */
  lockRecord?(name: Name): Promise<() => Promise<void>>;
  /** How many keys, rows or objects this namespace occupies in the store. */
  footprint?(): Promise<number> | number;
  /** A backend on `backend`'s store with the least privilege that works after `setup()`. */
  unprivileged?(): Promise<Backend>;
  /** A backend on a store (schema, database, bucket) where `setup()` never ran. */
  bare?(): Promise<Backend>;
  /** Stores that can't be trusted: each must be refused by `setup()` or reported by `diagnose()`. */
  misconfigured?(): Promise<readonly Misconfigured[]>;
  /** A backend that keeps to a single connection. */
  singleConnection?(): Promise<Backend>;
  /** A process that holds the lease of `key` in this namespace and renews it until it ends. */
  spawnHolder?(key: string, ttlMs: number): Promise<Holder>;
}

/** The names of the optional hooks. */
export type Hook = Exclude<keyof Opened, "backend" | "namespace" | "second" | "close">;

export interface Harness {
  /** The backend's name in reports. */
  readonly name: string;
  readonly timing?: Timing | undefined;
  readonly declared?: Declared | undefined;
  /**
   * Cases that do not apply, with the reason, which the report shows. An id that no case has is an error.
   * @default none
   */
  readonly skip?: Readonly<Record<string, string>> | undefined;
  /** The seed of the random sequences. @default random; a failure prints it */
  readonly seed?: number | undefined;
  /** How many cases run at the same time, 1 or more. @default 8 */
  readonly concurrency?: number | undefined;
  open(): Promise<Opened>;
  /** Called once after the last case. */
  close?(): Promise<void>;
}
