/** What an election is to its users. */

/** Leadership of one candidate, from its election to its loss or resignation. */
export interface Term {
  /** The fence of the lease behind it: carry it with every write of the leader. */
  readonly fence: bigint;
  /** When this candidate learned of its election, by this host's clock. */
  readonly since: Date;
  /** Aborts by this host's own clock before anybody else can be elected, and when it resigns or stops. */
  readonly signal: AbortSignal;
}

/** Why a term ended. */
export type TermEnd = "lost" | "resigned" | "stopped" | "failed";

/** What a candidate shows of itself: plain JSON, together under 4 KiB. */
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
   * returned; if it throws, the candidate resigns and stands again after a pause.
   */
  onElected?: ((term: Term) => Promise<void> | void) | undefined;
  /** Runs after a term, when `onElected` has settled. */
  onLost?: ((term: Term, end: TermEnd) => Promise<void> | void) | undefined;
  /** Runs every third of the ttl while the candidate stands or leads. */
  onCycle?: ((election: Pick<Election, "isLeader" | "term">) => Promise<void> | void) | undefined;
  /** Gets what a callback threw and what kept the candidate from standing; the election goes on. */
  onError?: ((error: unknown) => void) | undefined;
  /** Shown by `candidates()`; without it this candidate is not listed. Costs one more lease. */
  status?: CandidateStatus | undefined;
  /** How long `stop` and `resign` wait for `onElected` to settle. @default 10000 */
  graceMs?: number | undefined;
  /** What others see of this candidate. @default the coordinator's */
  holder?: string | undefined;
}

export interface LeaderInfo {
  /** The `id` that `candidates()` shows. */
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
  /** Begins to stand; answers itself. Does nothing while it runs. */
  start(): Election;
  /** Ends the term if there is one, as `resign` does, and stands no more. */
  stop(): Promise<void>;
  /**
   * Ends the term: its signal aborts, `onElected` gets `graceMs` to settle while the lease is still renewed,
   * and the lease is released last. The candidate stands again after a pause.
   */
  resign(): Promise<void>;
  /** Resolves when it was stopped. */
  readonly done: Promise<void>;
  /** By this host's own clock, without I/O. */
  readonly isLeader: boolean;
  readonly running: boolean;
  readonly term: Term | undefined;
  /** Who leads now, as the store says; `null` if nobody does. Also for mere observers. */
  leader(): Promise<LeaderInfo | null>;
  /** All that stand with a `status`, in the order of their ids. */
  candidates(): Promise<CandidateInfo[]>;
  /** Yields the leader now and at each change, until it is left or the signal aborts. */
  observe(options?: { signal?: AbortSignal | undefined }): AsyncIterable<LeaderInfo | null>;
}
