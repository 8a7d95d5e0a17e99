/** What this package tells on the channel `coord:sql` of `node:diagnostics_channel`. Nobody listening costs nothing. */
import { channel } from "node:diagnostics_channel";
import type { Dialect } from "./types.ts";

/** One transaction of `transaction`, when it has ended. */
export interface TransactionEvent {
  readonly kind: "transaction";
  readonly dialect: Dialect;
  /** `unstarted`: no connection could be had, or BEGIN failed; `unknown`: COMMIT was sent and not answered. */
  readonly outcome: "committed" | "rolled-back" | "unknown" | "unstarted";
  /** From the call, so with the wait for a connection. */
  readonly durationMs: number;
  readonly error?: unknown;
}

/** One wait for a row (`lockRow`) or an advisory lock (`advisoryLock`), when it has ended. */
export interface LockWaitEvent {
  readonly kind: "row-lock" | "advisory-lock";
  readonly dialect: Dialect;
  /** The table, or the lock's name. */
  readonly lock: string;
  /** `missing`: there is no such row, or with `skipLocked` no free one; `failed`: for another reason. */
  readonly outcome: "locked" | "missing" | "timeout" | "failed";
  readonly waitedMs: number;
  readonly error?: unknown;
}

/** An advisory lock was given back, or its connection was lost before that. */
export interface LockEndEvent {
  readonly kind: "advisory-unlock";
  readonly dialect: Dialect;
  readonly lock: string;
  readonly outcome: "released" | "lost";
  readonly heldMs: number;
}

/** One write of `occUpdate`, `insertIdempotent`, `fencedUpdate` or `fencedUpsert`. */
export interface WriteEvent {
  readonly kind: "occ-update" | "idempotent-insert" | "fenced-update" | "fenced-upsert";
  readonly dialect: Dialect;
  readonly table: string;
  /** `written`; `conflict`: another version; `exists`: another insert was first; `stale`: a newer fence was there. */
  readonly outcome: "written" | "conflict" | "exists" | "stale" | "failed";
  readonly durationMs: number;
  readonly error?: unknown;
}

/** `withOccRetry` is about to try once more. */
export interface RetryEvent {
  readonly kind: "occ-retry";
  readonly dialect: Dialect;
  /** The attempt that failed, from 1. */
  readonly attempt: number;
  readonly pauseMs: number;
  readonly error: unknown;
}

export type SqlEvent = TransactionEvent | LockWaitEvent | LockEndEvent | WriteEvent | RetryEvent;

const events = channel("coord:sql");

export const isHeard = (): boolean => events.hasSubscribers;

export function publish(event: SqlEvent): void {
  if (events.hasSubscribers) events.publish(event);
}

/** Runs a write and tells how it went. */
export async function tellingWrite<T>(
  about: Pick<WriteEvent, "kind" | "dialect" | "table">,
  write: () => Promise<T>,
  outcomeOf: (result: T | undefined, error: unknown) => WriteEvent["outcome"],
): Promise<T> {
  if (!isHeard()) return write();
  const startedAt = performance.now();
  const tell = (outcome: WriteEvent["outcome"], failure: { readonly error?: unknown }): void =>
    publish({ ...about, outcome, durationMs: performance.now() - startedAt, ...failure });
  try {
    const result = await write();
    tell(outcomeOf(result, undefined), {});
    return result;
  } catch (error) {
    tell(outcomeOf(undefined, error), { error });
    throw error;
  }
}
