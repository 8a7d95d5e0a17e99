import type { Grant } from "./backend.ts";

/** What an election is to its users. */

/** Leadership of one candidate, from its election to its loss or resignation. */
export interface Term {
  /** The name of the election; with it, `assertFenced(term, changedRows)` takes a term as it takes a lease. */
  readonly key: string;
  /** The fence of the lease behind it: carry it with every write of the leader. */
  readonly fence: bigint;
  /** What a backend recognises the grant by, for `backend.within(tx).verify(term)`. */
  readonly grant: Grant;
  /** When this candidate learned of its election, by this host's clock. */
  readonly since: Date;
  /**
   * Aborts by this host's own clock before anybody else can be elected, and when it resigns or stops. Reading
   * it looks at the clock, so that a process which stood still finds it aborted.
   */
  readonly signal: AbortSignal;
}

/** Why a term ended; `failed`: `onElected` threw. */
export type TermEnd = "lost" | "resigned" | "stopped" | "failed";

/** What a candidate shows of itself: plain JSON, together at most 4 KiB. */
export interface CandidateStatus {
  /** The version of the program that stands. */
  readonly version?: string | undefined;
  readonly [detail: string]: string | number | boolean | null | undefined;
}

export interface ElectionOptions {
  /** How long a silent leader keeps its leadership. @default the coordinator's `ttlMs` */
  ttlMs?: number | undefined;
  /**
   * Runs when this candidate is elected. Leadership lasts until it is lost or resigned, also after this has
   * returned; if it throws, the candidate resigns and stands again after a pause that doubles up to one ttl.
   * Rejecting with `term.signal.reason`, with an error that has it as its `cause` or with an `AbortError` after
   * the term ended counts as returning.
   */
  onElected?: ((term: Term) => Promise<void> | void) | undefined;
  /** Runs after a term, when `onElected` has settled; the candidate stands again when this has settled too. */
  onLost?: ((term: Term, end: TermEnd) => Promise<void> | void) | undefined;
  /** Runs every third of the ttl while the candidate stands or leads; never twice at a time. */
  onCycle?: ((election: Pick<Election, "isLeader" | "term">) => Promise<void> | void) | undefined;
  /**
   * Gets what a callback threw, and what keeps the candidate from standing or observing: a store that does not
   * answer, a callback that does not settle. The election goes on.
   */
  onError?: ((error: unknown) => void) | undefined;
  /** Shown by `candidates()`; without it this candidate is not listed. Costs one more lease. */
  status?: CandidateStatus | undefined;
  /** How long `stop` and `resign` wait for callbacks to settle, from 0 to 3,600,000. @default 10000 */
  graceMs?: number | undefined;
  /** What others see of this candidate. @default the coordinator's */
  holder?: string | undefined;
}

export interface LeaderInfo {
  /** The `id` of the election handle that leads, which `candidates()` shows too. */
  readonly candidateId: string;
  readonly holder: string;
  readonly fence: bigint;
  /** Milliseconds until it lapses unless it is renewed, by the store's clock. */
  readonly remainingMs: number;
}

export interface CandidateInfo {
  readonly id: string;
  readonly holder: string;
  readonly host: string;
  readonly pid: number;
  /** Taken from the lease of the election, never from what the candidate says of itself. */
  readonly state: "leader" | "candidate";
  readonly version: string | undefined;
  /** When it began to stand, by its host's clock. */
  readonly since: Date;
  /** Milliseconds since its last renewal, by the store's clock. */
  readonly lastSeenMs: number;
  /** Everything it was given as `status`. */
  readonly status: CandidateStatus;
}

export interface Election extends AsyncDisposable {
  readonly name: string;
  /** This candidate, as `leader()` and `candidates()` show it. */
  readonly id: string;
  /**
   * Begins to stand; answers itself. Does nothing while it runs. While it is still stopping, it stands again
   * as soon as that is done. Keeps the process up until it is stopped. Throws `COORD_CLOSED`.
   */
  start(): Election;
  /**
   * Ends the term if there is one, as `resign` does, and stands no more. Resolves when nothing of it goes on,
   * or after `graceMs` if a callback does not settle; called from within a callback, at once. Never rejects.
   */
  stop(): Promise<void>;
  /**
   * Ends the term: its signal aborts, `onElected` gets `graceMs` to settle while the lease is still renewed,
   * and the lease is released last; one that has not settled by then is not renewed any more and lapses. The
   * candidate stands again after a pause that lets others win. Called from within a callback, it resolves at
   * once, as the callback itself is waited for. Does nothing without a term. Never rejects.
   */
  resign(): Promise<void>;
  /** Resolves when it was stopped and nothing of it goes on; it never rejects. */
  readonly done: Promise<void>;
  /** By this host's own clock, without I/O. */
  readonly isLeader: boolean;
  /** Whether it stands or leads, and will go on doing so. */
  readonly running: boolean;
  readonly term: Term | undefined;
  /** Who leads now, as the store says; `null` if nobody does. Also for mere observers. Throws `UnavailableError`. */
  leader(): Promise<LeaderInfo | null>;
  /** All that stand with a `status`, in the order of their ids. Throws `UnavailableError`. */
  candidates(): Promise<CandidateInfo[]>;
  /**
   * Yields the leader now and at each change, until it is left, the signal aborts or the coordinator closes.
   * A store that does not answer is no change: it is told to `onError` and asked again. Changes while nobody
   * asks for the next one are not queued: the latest counts.
   */
  observe(options?: { signal?: AbortSignal | undefined }): AsyncIterable<LeaderInfo | null>;
}
