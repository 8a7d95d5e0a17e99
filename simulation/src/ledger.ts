import type { LeaseRecord } from "@coord/core";
import type { Step } from "./store.ts";

/** One grant as its requests and answers tell it, whatever the record says. */
export interface LedgerGrant {
  readonly id: string;
  readonly grantId: string;
  readonly fence: bigint;
  /** Made unique by whoever asked, so that a grant is known to belong to it. */
  readonly holder: string;
  readonly ttlMs: number;
  readonly retainMs: number | null;
  /** In true time. */
  readonly grantedAt: number;
  readonly sentAt: number;
  /** By the store's clock, in milliseconds since 1970: what its holder was promised. */
  promisedMs: number;
  /** When the request was sent that extended it last, in true time. */
  extendedBySentAt: number;
  sealed: boolean;
  ended: "released" | "overruled" | "overruled now" | "handed over" | undefined;
  /** In true time and by the store's clock. */
  endedAt: number;
  endedMs: number;
}

export interface LedgerName {
  current: LedgerGrant | undefined;
  highestFence: bigint;
  /** Store clock and retention of the last deletion. */
  deleted: { readonly nowMs: number; readonly retainMs: number } | undefined;
}

export interface Ledger {
  readonly names: ReadonlyMap<string, LedgerName>;
  /** By `grantKey`: a late duplicate may be granted anew, under another fence. */
  readonly grants: ReadonlyMap<string, LedgerGrant>;
  of(id: string): LedgerName;
  /** To be called after the invariants have looked at the step. */
  enter(step: Step, nowAt: number): void;
}

export const grantKey = ({ grantId, fence }: { grantId: string; fence: bigint }): string =>
  `${grantId} ${fence}`;

/** Whether the step made a new grant (and not one more answer to an old one). */
export function isNewGrant(step: Step): boolean {
  return (
    step.op === "acquire" &&
    step.result.outcome === "granted" &&
    step.before?.grantId !== step.request.grantId
  );
}

/** The earliest instant at which clean-up may delete it, by the store's clock; `undefined` = never as it is. */
export function dueMs(record: LeaseRecord, grant: LedgerGrant | undefined): number | undefined {
  if (record.retainMs === null || grant === undefined) return undefined;
  if (grant.ended === undefined && grant.sealed) return undefined;
  const atOnce = grant.ended === "released" || grant.ended === "overruled now";
  const endMs = atOnce ? grant.endedMs : grant.promisedMs;
  return Math.max(endMs, Number(record.fence / 1000n)) + record.retainMs;
}

export function createLedger(): Ledger {
  const names = new Map<string, LedgerName>();
  const grants = new Map<string, LedgerGrant>();

  function of(id: string): LedgerName {
    let entry = names.get(id);
    if (entry === undefined) {
      entry = { current: undefined, highestFence: 0n, deleted: undefined };
      names.set(id, entry);
    }
    return entry;
  }

  function end(
    grant: LedgerGrant | undefined,
    how: NonNullable<LedgerGrant["ended"]>,
    step: Step,
    nowAt: number,
  ): void {
    if (grant === undefined || grant.ended !== undefined) return;
    grant.ended = how;
    grant.endedAt = nowAt;
    grant.endedMs = step.nowMs;
  }

  function extend(grant: LedgerGrant, promisedMs: number, sentAt: number): void {
    if (promisedMs <= grant.promisedMs) return;
    grant.promisedMs = promisedMs;
    grant.extendedBySentAt = Math.max(grant.extendedBySentAt, sentAt);
  }

  return {
    names,
    grants,
    of,
    enter(step, nowAt) {
      const entry = of(step.id);
      const { current } = entry;
      if (step.op === "acquire" && step.result.outcome === "granted") {
        const { request, result } = step;
        if (current?.grantId === request.grantId && current.fence === result.fence) {
          extend(current, step.nowMs + request.ttlMs, step.sentAt);
        } else {
          if (request.from !== undefined) end(current, "handed over", step, nowAt);
          entry.current = {
            id: step.id,
            grantId: request.grantId,
            fence: result.fence,
            holder: request.holder,
            ttlMs: request.ttlMs,
            retainMs: request.retainMs,
            grantedAt: nowAt,
            sentAt: step.sentAt,
            promisedMs: step.nowMs + request.ttlMs,
            extendedBySentAt: step.sentAt,
            sealed: request.sealed,
            ended: undefined,
            endedAt: Infinity,
            endedMs: Infinity,
          };
          grants.set(grantKey(entry.current), entry.current);
        }
        // After a deletion by a clock that was ahead, fences begin anew: nothing can help that.
        if (result.fence > entry.highestFence || entry.deleted !== undefined)
          entry.highestFence = result.fence;
        entry.deleted = undefined;
      } else if (step.op === "renew" && step.result === "renewed") {
        const grant = grants.get(grantKey(step.request));
        if (grant !== undefined) extend(grant, step.nowMs + step.request.ttlMs, step.sentAt);
      } else if (step.op === "release" && step.result.outcome === "released") {
        const grant = current?.grantId === step.request.grantId ? current : undefined;
        if (grant?.ended === undefined && grant !== undefined) grant.sealed = step.request.sealed;
        end(grant, "released", step, nowAt);
      } else if (step.op === "overrule" && step.result.outcome === "overruled") {
        const { request, result } = step;
        if (step.before?.grantId !== request.grantId) {
          const lapsed = current !== undefined && current.promisedMs <= step.nowMs + 1;
          if (current?.ended === "overruled" && (request.now || request.sealed)) {
            current.ended = "overruled now";
            current.endedMs = step.nowMs;
          }
          // What was released is so once more, by the clock as it stands now.
          if (current?.ended === "released") current.endedMs = step.nowMs;
          end(current, request.now || request.sealed || lapsed ? "overruled now" : "overruled", step, nowAt);
          if (result.fence > entry.highestFence) entry.highestFence = result.fence;
        }
      } else if (step.op === "prune") {
        entry.deleted = { nowMs: step.nowMs, retainMs: step.before?.retainMs ?? 0 };
        entry.current = undefined;
      }
    },
  };
}
