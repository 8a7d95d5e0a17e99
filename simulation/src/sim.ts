import type { Execution, Grant, Lease, OnceResult } from "@coord/core";
import type { Book, OnceCall, Run } from "./book.ts";
import type { Core } from "./core.ts";
import type { Ledger } from "./ledger.ts";
import type { Link } from "./network.ts";
import type { Shape } from "./plan.ts";
import type { SimProcess } from "./process.ts";
import type { Step, Store } from "./store.ts";
import type { World } from "./world.ts";

/** One call of a user that wants a lease, from its beginning to the end of the lease. */
export interface Acquisition {
  /** Unique; it is the `holder` that the store sees, which tells whose a grant is. */
  readonly holder: string;
  readonly process: SimProcess;
  readonly life: number;
  /** As the store knows it. */
  readonly id: string;
  readonly ttlMs: number;
  readonly waitMs: number;
  readonly askedAt: number;
  /** When the call came back, in true time. */
  settledAt: number | undefined;
  held: HeldLease | undefined;
  /** When its user wanted nothing any more: aborted, released, failed; in true time. */
  overAt: number | undefined;
  readonly over: { how: string };
}

/** What a process holds and believes in: a lease, the claim of an execution, a term. */
export interface Handle {
  /** Whose it is, as the store sees it. */
  readonly holder: string;
  readonly process: SimProcess;
  readonly life: number;
  /** As the store knows it. */
  readonly id: string;
  readonly ttlMs: number;
  readonly askedAt: number;
  readonly grant: Pick<Grant, "grantId" | "fence">;
  /** Read once, as users do. */
  readonly signal: AbortSignal;
  assertHeld(): void;
  /** It has no end of its own, so that nobody waits for it. @default false */
  readonly lasting?: boolean;
}

/** One candidate in one life of its process. */
export interface Candidate {
  /** Unique; it is the `holder` of its leases. */
  readonly label: string;
  readonly process: SimProcess;
  readonly life: number;
  readonly ttlMs: number;
  /** In true time, as all that follows. */
  readonly startedAt: number;
  stopAskedAt: number | undefined;
  stoppedAt: number | undefined;
  /** The term whose work has not settled. */
  working: Handle | undefined;
  /** The term that it was not told the end of. */
  leads: Handle | undefined;
}

/** A lease in the hands of a user. */
export interface HeldLease extends Handle {
  readonly lease: Lease;
  readonly acquisition: Acquisition;
  /** Left to somebody else on purpose: detached, or to lapse. */
  left: boolean;
}

/** What invariants see. Each file under `invariants` gives one of these. */
export interface Observer {
  step?(step: Step): void;
  asked?(acquisition: Acquisition): void;
  leased?(held: HeldLease): void;
  /** `assertHeld` passed at this instant. */
  asserted?(held: Handle): void;
  /** `assertHeld` threw, or the signal aborted, though its user had not ended it. */
  lost?(held: Handle, reason: string): void;
  saved?(held: HeldLease, number: number): void;
  released?(held: HeldLease): void;
  /** The user of the acquisition wants nothing any more. */
  over?(acquisition: Acquisition): void;
  /** Its call failed with an error of that code. */
  failed?(acquisition: Acquisition, code: string): void;
  /** A function begins under `once`. */
  began?(run: Run, execution: Execution): void;
  /** A probe is asked about the run under that fence. */
  probed?(call: OnceCall, fence: bigint): void;
  /** What the function does in the world is done. */
  effect?(run: Run): void;
  /** A call of `once` came back, with an answer or an error. */
  answered?(
    call: OnceCall,
    outcome: { readonly result: OnceResult<unknown> } | { readonly error: unknown },
  ): void;
  elected?(candidate: Candidate, handle: Handle): void;
  /** What it did in office threw. */
  refusedOffice?(candidate: Candidate, handle: Handle): void;
  /** It is told of the end of its term; `over` is what the term's signal says. */
  unelected?(candidate: Candidate, over: boolean): void;
  /** Its stop came back. */
  stopped?(candidate: Candidate): void;
  /** An operator's decision came back. */
  resolved?(by: string, id: string, error: unknown): void;
  /** The faults are over and all that users wanted is done. */
  settled?(): void;
  /** All coordinators are closed as well. */
  rest?(): void;
}

/** One run with all that is in it. */
export interface Sim {
  readonly core: Core;
  readonly shape: Shape;
  readonly world: World;
  readonly store: Store;
  readonly processes: readonly SimProcess[];
  readonly links: readonly Link[];
  readonly ledger: Ledger;
  readonly acquisitions: Acquisition[];
  readonly held: Set<Handle>;
  /** Users that have not come to their end. */
  readonly busy: Set<{ readonly label: string; readonly process: SimProcess; readonly life: number }>;
  readonly candidates: Candidate[];
  /** What was done under `once`, by what those who did it say. */
  readonly book: Book;
  tell(event: keyof Observer, call: (observer: Observer) => void): void;
  violate(rule: string, what: string): void;
}
