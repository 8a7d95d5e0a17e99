import type { Backend, Diagnosis, LeaseState } from "./backend.ts";
import type { Host } from "./clock.ts";
import type { Election, ElectionOptions } from "./election-api.ts";
import type { Lease } from "./lease.ts";
import type { Executions, Once, WrapOnce } from "./once-api.ts";
import type { Kind } from "./validate.ts";

/** Times that hold where a call says nothing else; all in milliseconds. */
export interface Defaults {
  /** How long the store keeps a lease whose holder is silent: 250 to 86,400,000. @default 30000 */
  ttlMs?: number | undefined;
  /** How long an acquire waits; 0 = one try, `Infinity` = until the signal aborts. @default 10000 */
  waitMs?: number | undefined;
  /** How long a lease may be held with all its renewals. @default none */
  maxHoldMs?: number | undefined;
  /** How long a record is kept after its end, from 60,000; `null` = for ever. @default 86400000 (24 h) */
  retainMs?: number | null | undefined;
}

export interface CoordinatorOptions {
  /** The store. `close()` closes it, which ends what the backend opened itself and nothing else. */
  backend: Backend;
  /** Keeps the keys of several programs apart: `^[A-Za-z_][A-Za-z0-9_-]{0,47}$`. @default 'default' */
  namespace?: string | undefined;
  defaults?: Defaults | undefined;
  /** What others see of this process, at most 255 characters. @default host name and process id */
  holder?: string | undefined;
  /** Refuse to acquire while this host's clock and the store's differ by more. @default off */
  maxClockOffsetMs?: number | undefined;
  /**
   * Remember for how long a name is held that was refused, and let `tryAcquire` and `tryWithLease` answer so
   * again without a request until then: where each request is paid for. A holder that releases early is
   * noticed that much later, so this is for work that need not follow at once; what waits always asks.
   * @default false
   */
  rememberHeld?: boolean | undefined;
  /** Delete records past their time in the background. @default true */
  cleanUp?: boolean | undefined;
  /** Clock, timers and randomness, for simulations. @default the system's */
  host?: Host | undefined;
}

export interface TryAcquireOptions extends Omit<Defaults, "waitMs"> {
  signal?: AbortSignal | undefined;
  /** @default the coordinator's */
  holder?: string | undefined;
  /** Renew in the background at a third of the ttl. @default true */
  renew?: boolean | undefined;
}

export interface AcquireOptions extends TryAcquireOptions {
  /** As in `Defaults`. */
  waitMs?: number | undefined;
}

export interface HoldOptions {
  /**
   * Keep others out for at least so long, however soon the callback is done: for cron jobs on hosts with
   * skewed clocks. The record is left to lapse after it, or after the ttl if that is longer. @default 0
   */
  minHoldMs?: number | undefined;
}

export type WithLeaseOptions = AcquireOptions & HoldOptions;
export type TryWithLeaseOptions = TryAcquireOptions & HoldOptions;

export type TryWithLeaseResult<T> =
  | { readonly acquired: true; readonly value: T }
  | { readonly acquired: false; readonly holder: string | undefined; readonly remainingMs: number };

/** What the store knows of a name. */
export interface LeaseInfo {
  readonly key: string;
  readonly fence: bigint;
  /** Who holds it, or held it last. */
  readonly holder: string;
  readonly state: LeaseState;
  /** Milliseconds until it lapses unless it is renewed, by the store's clock. */
  readonly remainingMs: number;
  /** Handed to nobody until somebody resolves it. */
  readonly sealed: boolean;
  /** What was saved last; not read by `list`. */
  readonly checkpoint: unknown;
}

export interface Coordinator extends AsyncDisposable {
  readonly namespace: string;
  readonly backend: Backend;
  /**
   * Runs the callback under a lease and returns what it returns. Rejects with the callback's own error, with
   * `LeaseLostError` if the lease was lost before it finished (`result` has what it returned), with
   * `AcquireTimeoutError`, `UnavailableError`, `InvalidArgumentError` or `COORD_REENTRANT` before it ran.
   */
  withLease<T>(key: string, work: (lease: Lease) => Promise<T> | T): Promise<T>;
  withLease<T>(key: string, options: WithLeaseOptions, work: (lease: Lease) => Promise<T> | T): Promise<T>;
  /** As `withLease`, but one try: `acquired` is false when somebody else holds it. */
  tryWithLease<T>(key: string, work: (lease: Lease) => Promise<T> | T): Promise<TryWithLeaseResult<T>>;
  tryWithLease<T>(
    key: string,
    options: TryWithLeaseOptions,
    work: (lease: Lease) => Promise<T> | T,
  ): Promise<TryWithLeaseResult<T>>;
  /** Waits up to `waitMs`; throws `AcquireTimeoutError`. Release it, or use `await using`. */
  acquire(key: string, options?: AcquireOptions): Promise<Lease>;
  /** One try; `null` when somebody else holds it. */
  tryAcquire(key: string, options?: TryAcquireOptions): Promise<Lease | null>;
  /** Takes over a detached lease, once, under a new fence; `COORD_MOVED` when it lapsed or was adopted. */
  adopt(text: string, options?: TryAcquireOptions): Promise<Lease>;
  readonly once: Once;
  readonly wrapOnce: WrapOnce;
  /** What became of executions under `once`, and decisions about them by hand. */
  readonly executions: Executions;
  /** What the store knows of a key; `null` if nothing. */
  inspect(key: string, options?: { kind?: Kind | undefined }): Promise<LeaseInfo | null>;
  /** Records in byte order of their keys, read in pages while they are asked for. */
  list(options?: {
    prefix?: string | undefined;
    kind?: Kind | undefined;
    state?: LeaseState | undefined;
  }): AsyncIterable<LeaseInfo>;
  /**
   * Takes a lease away, given the fence that `inspect` showed: its holder's renewals, saves and release are
   * lost from now on. Others are let in at the holder's own deadline, or at once with `now`, for a holder
   * known to be dead. Throws `COORD_MOVED` when the fence is another by now. With `kind: 'election'` it takes
   * the leadership away that `elect` gave. @default kind 'lease'
   */
  breakLease(
    key: string,
    options: {
      fence: bigint;
      by: string;
      note?: string | undefined;
      now?: boolean | undefined;
      kind?: "lease" | "election" | undefined;
    },
  ): Promise<{ readonly fence: bigint }>;
  /**
   * A candidate of an election, which stands when it is started; without `start()`, an observer of it.
   * Throws `InvalidArgumentError`.
   */
  elect(name: string, options?: ElectionOptions): Election;
  /** Makes what the backend needs (tables, indexes); idempotent. */
  setup(): Promise<void>;
  /** What the backend relies on, checked on the live server, with remedies. */
  diagnose(): Promise<Diagnosis>;
  /** Deletes records past their time now; how many. */
  prune(): Promise<number>;
  /**
   * Drains: takes no new work, waits up to `graceMs` for what is held, then aborts its signals, releases it
   * and closes the backend. `graceMs`: 0 to 3,600,000. @default graceMs 10000
   */
  close(options?: { graceMs?: number | undefined }): Promise<void>;
}
