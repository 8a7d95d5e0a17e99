/**
 * The contract between core and a backend: one record per name, five operations on it.
 *
 * Glossary
 * - name: a namespace and a key; the thing that at most one grant holds at a time.
 * - grant: one successful acquisition, recognised by its `grantId` (128 random bits made by core).
 * - fence: the fencing token of a grant, strictly increasing per name.
 * - holder: text for people, never part of a decision.
 * - held, free, lapsed: derived from `expiresAt` and the store's clock, never stored.
 * - sealed: not handed to a new grant, not even after it lapsed, until somebody unseals it.
 * - spent: the record's grant is this one, but it is no longer held; a grant id is good for one grant.
 * - unknown: the step may or may not have happened; never guessed, always resolved by repeating.
 *
 * Every request may be sent twice, arrive late, or arrive after a later one. A backend makes one atomic
 * step per call; it does not retry, sleep, renew by itself or validate names: core does that once for all.
 */

export interface Name {
  /** 1 to 48 characters: `^[A-Za-z_][A-Za-z0-9_-]{0,47}$`. */
  readonly namespace: string;
  /** Core's prefix for its key space, U+001F, and 1 to 512 bytes of UTF-8; compared by bytes. */
  readonly key: string;
}

/** What recognises one grant of one name. */
export interface Grant {
  readonly name: Name;
  readonly grantId: string;
  readonly fence: bigint;
}

/** The record as it is stored. `P` is the payload's type: text, or a store's own token for it (`casBackend`). */
export interface LeaseRecord<P = string> {
  readonly namespace: string;
  readonly key: string;
  /** `max(last fence + 1, store clock in µs since 1970)`. */
  readonly fence: bigint;
  /** Who holds it, or held it last; stays after release and lapse. */
  readonly grantId: string;
  /** At most 255 characters. */
  readonly holder: string;
  /** Milliseconds since 1970 by the store's clock; 0 = released. */
  readonly expiresAt: number;
  readonly sealed: boolean;
  /** Text that outlives the grant; absent where it was not asked for or never set. */
  readonly payload?: P | undefined;
  /** How often this grant has replaced the payload. */
  readonly payloadSeq: number;
  /** Milliseconds that the record is kept after its end; `null` = for ever. */
  readonly retainMs: number | null;
  /** Milliseconds since 1970 by the store's clock; `null` = never. */
  readonly purgeAt: number | null;
}

export type LeaseState = "held" | "free" | "lapsed";

/** A record as a backend answers it: with what the store's clock says of it. */
export interface RecordView<P = string> extends LeaseRecord<P> {
  readonly state: LeaseState;
  /** Milliseconds until `expiresAt` by the store's clock, rounded up, never negative. */
  readonly remainingMs: number;
}

export interface AcquireRequest {
  readonly name: Name;
  readonly grantId: string;
  readonly holder: string;
  readonly ttlMs: number;
  readonly sealed: boolean;
  /** Replaces the stored payload; absent = the stored one is kept. */
  readonly payload?: string | undefined;
  readonly retainMs: number | null;
  /** Grant only if the record's fence is this one; `0n` = only if there is no record. */
  readonly ifFence?: bigint | undefined;
  /** A hand-over: grant only if the record is held by exactly this grant and fence. */
  readonly from?: { readonly grantId: string; readonly fence: bigint } | undefined;
  /** Whether a refusal carries the record's payload. @default false */
  readonly withPayload?: boolean | undefined;
}

export type RefusalReason = "spent" | "held" | "sealed" | "moved";

export type AcquireResult<P = string> =
  | { readonly outcome: "granted"; readonly fence: bigint; readonly payload?: P | undefined }
  | {
      readonly outcome: "refused";
      readonly reason: RefusalReason;
      readonly record: RecordView<P> | null;
      readonly remainingMs: number;
    };

export interface RenewRequest extends Grant {
  readonly ttlMs: number;
  /** Given together with `payloadSeq`. */
  readonly payload?: string | undefined;
  /** The payload is stored only if this is higher than the stored one. */
  readonly payloadSeq?: number | undefined;
}

/** `lost` only if the record was read and does not match; a record locked by a transaction is `unknown`. */
export type RenewOutcome = "renewed" | "lost" | "unknown";

export interface ReleaseRequest {
  readonly name: Name;
  readonly grantId: string;
  /** `null` = whatever fence this grant got. */
  readonly fence: bigint | null;
  readonly sealed: boolean;
  readonly payload?: string | undefined;
  readonly retainMs: number | null;
}

export type ReleaseResult<P = string> =
  /** `record` is what stands if this grant had been released before; absent on the first release. */
  | { readonly outcome: "released"; readonly record?: RecordView<P> | undefined }
  | { readonly outcome: "lost" };

export interface OverruleRequest {
  readonly name: Name;
  /** Fresh, not that of the grant which is overruled. */
  readonly grantId: string;
  /** The fence that the caller read; `0n` = there was no record. */
  readonly fence: bigint;
  /** Whether the record that the caller read was released. */
  readonly released: boolean;
  readonly sealed: boolean;
  readonly payload?: string | undefined;
  readonly retainMs: number | null;
  /** Frees a held record at once, for a holder known to be dead. @default false */
  readonly now?: boolean | undefined;
}

export type OverruleResult<P = string> =
  | { readonly outcome: "overruled"; readonly fence: bigint }
  | { readonly outcome: "moved"; readonly record: RecordView<P> | null };

export interface ListRequest {
  readonly namespace: string;
  /** Compared by bytes, literally. */
  readonly prefix: string;
  readonly state?: LeaseState | undefined;
  readonly sealed?: boolean | undefined;
  /** The last key of the page before. */
  readonly after?: string | undefined;
  /** 1 to 1000. */
  readonly limit: number;
}

export interface Finding {
  readonly level: "ok" | "warning" | "error";
  /** What was found. */
  readonly message: string;
  /** What to do about it; absent on `ok`. */
  readonly remedy?: string | undefined;
}

export interface Diagnosis {
  readonly findings: readonly Finding[];
  /**
   * The store's clock, and this host's wall clock before and after the request that read it, in
   * milliseconds since 1970.
   */
  readonly clock: { readonly storeMs: number; readonly beforeMs: number; readonly afterMs: number };
}

export interface CallOptions {
  /** Aborted when core no longer waits for the answer. */
  readonly signal: AbortSignal;
  /** How long core waits for the answer; then the outcome is unknown. */
  readonly timeoutMs: number;
}

export interface Subscription {
  /** False while wake-ups can't be delivered (a dropped connection): core polls meanwhile. */
  readonly live: boolean;
  close(): Promise<void>;
}

/** What a backend says of itself; everything but the name has a default. */
export interface BackendInfo {
  readonly name: string;
  /** @default 250 */
  readonly minTtlMs?: number | undefined;
  /** A lease may live up to this much longer than asked, never shorter. @default 1 */
  readonly granularityMs?: number | undefined;
  /** @default 327680 (256 KiB of the user's and 64 KiB of core's) */
  readonly maxPayloadBytes?: number | undefined;
  /** Renew requests that one call takes. @default 1000 */
  readonly maxRenewBatch?: number | undefined;
  /** `store`: the store's clock decides; `observed`: clocks of observers that may differ. @default 'store' */
  readonly clock?: "store" | "observed" | undefined;
  /** Milliseconds between a waiter's polls while nothing wakes it, before jitter. @default 100 */
  readonly pollMs?: number | undefined;
  /** Whether `prune` has anything to do; false where the store deletes by itself. @default true */
  readonly prunes?: boolean | undefined;
}

/**
 * A store of lease records. Each method makes one atomic step and ends with one of the answers typed here
 * or throws: `COORD_UNAVAILABLE` means that the step may have happened.
 */
export interface Backend {
  readonly info: BackendInfo;
  acquire(request: AcquireRequest, options: CallOptions): Promise<AcquireResult>;
  /** One outcome per request, in their order. A name may be there twice. */
  renew(requests: readonly RenewRequest[], options: CallOptions): Promise<RenewOutcome[]>;
  release(request: ReleaseRequest, options: CallOptions): Promise<ReleaseResult>;
  /** Sees every acknowledged write. */
  inspect(name: Name, options: CallOptions): Promise<RecordView | null>;
  overrule(request: OverruleRequest, options: CallOptions): Promise<OverruleResult>;
  /** Records without payloads, in byte order of their keys; fewer than `limit` = the end. */
  list(request: ListRequest, options: CallOptions): Promise<RecordView[]>;
  /** Deletes up to `limit` records past `purgeAt`, check and delete in one step; how many it deleted. */
  prune(request: { readonly limit: number }, options: CallOptions): Promise<number>;
  /** Idempotent; 20 at once do no harm. */
  setup(options: CallOptions): Promise<void>;
  /** What the backend relies on, checked on the live server. */
  diagnose(options: CallOptions): Promise<Diagnosis>;
  /** Closes what the backend opened itself, nothing else. */
  close(): Promise<void>;
  /**
   * Resolves once wake-ups from then on are delivered; rejects where they can't be. A wake-up is a hint,
   * never a grant. `onWake` is called too when the subscription goes down or comes back.
   */
  watch?(name: Name, onWake: () => void, options: CallOptions): Promise<Subscription>;
}

/**
 * The steps that a backend with transactions offers inside a transaction that the caller began and ends:
 * `backend.within(transaction)`. They lock the record, so that a takeover waits for the commit.
 */
export interface Within {
  /** Throws `LeaseLostError` if the grant is not held any more. Call it before the writes it protects. */
  verify(lease: { readonly grant: Grant }): Promise<void>;
  release(request: ReleaseRequest): Promise<ReleaseResult>;
}
