import { grantKey, isNewGrant } from "../ledger.ts";
import type { Handle, Observer, Sim } from "../sim.ts";

/** Core's margin, beneath which a suspension may go unnoticed for half of it. */
export const marginMs = (ttlMs: number): number => Math.max(50, Math.min(ttlMs / 10, 1000)) + ttlMs / 1000;

/**
 * Whether something happened during this lease that no deadline can see: both clocks stood still, the
 * store's clock was set forward, or an operator let others in at once. Then only the fence protects.
 */
export function isExcused({ store, ledger }: Sim, held: Handle): boolean {
  const { process, askedAt, id } = held;
  if (process.deceivedAt >= askedAt || store.setForwardAt >= askedAt) return true;
  const grant = ledger.grants.get(grantKey(held.grant));
  return grant?.ended === "overruled now" || id !== grant?.id;
}

/** 1, 2, 3: one grant at a time by the store's clock, rising fences, and nobody believes otherwise. */
export function exclusion(sim: Sim): Observer {
  const { world, store, ledger, shape } = sim;
  /** The highest fence that each resource has seen, as it stands in its row. */
  const seen = new Map<string, bigint>();

  return {
    // Whoever believes to hold a name writes to what it protects, and is not to be refused.
    asserted(held) {
      const last = seen.get(held.id) ?? 0n;
      const { fence } = held.grant;
      if (isExcused(sim, held)) return;
      if (fence >= last) seen.set(held.id, fence);
      else sim.violate("3 fenced writes", `${held.holder} writes with fence ${fence} after ${last}`);
    },
    step(step) {
      if (step.op === "prune" && store.steppedAt > -Infinity) seen.delete(step.id);
      if (step.op !== "acquire" && step.op !== "overrule") return;
      const { highestFence, current, deleted } = ledger.of(step.id);
      if (step.op === "overrule") {
        if (step.result.outcome !== "overruled" || step.before?.grantId === step.request.grantId) return;
        if (step.result.fence <= highestFence && !wentBack(deleted, step.nowMs))
          sim.violate("2 fences rise", `an overrule gave fence ${step.result.fence} after ${highestFence}`);
        return;
      }
      if (step.result.outcome !== "granted") return;
      const { fence } = step.result;
      if (!isNewGrant(step)) {
        if (current?.grantId === step.request.grantId && current.fence !== fence)
          sim.violate(
            "2 fences rise",
            `grant ${current.grantId} has fence ${current.fence}, and then ${fence}`,
          );
        return;
      }
      if (fence <= highestFence && !wentBack(deleted, step.nowMs))
        sim.violate("2 fences rise", `fence ${fence} was granted after ${highestFence}`);
      const { from } = step.request;
      const handed = from !== undefined && current?.grantId === from.grantId && current.fence === from.fence;
      const open = current !== undefined && (current.ended === undefined || current.ended === "overruled");
      if (open && !handed && current.promisedMs - 1 > step.nowMs) {
        const leftMs = (current.promisedMs - step.nowMs).toFixed(1);
        const others = `${current.grantId} (fence ${current.fence}), which has ${leftMs} ms left`;
        sim.violate("1 no overlap", `${step.request.grantId} was granted over ${others}`);
      }
      for (const held of sim.held) {
        const { process, life, id, holder } = held;
        if (id !== step.id || process.life !== life || held.grant.grantId === step.request.grantId) continue;
        if (held.signal.aborted || isExcused(sim, held)) continue;
        // Stopped for long it can't abort; it will before it does anything else.
        if (world.now() <= process.excusedUntil + 20) continue;
        // A suspension shows itself at the next look at the clocks; timers that are very late are one too.
        if (world.now() < process.suspendedUntil + marginMs(shape.ttlMs) / 2 + 20) continue;
        if (shape.timersLateMs > 20) continue;
        sim.violate(
          "3 signals abort first",
          `${step.request.grantId} was granted while ${holder} (${held.grant.grantId}) has an unaborted signal`,
        );
      }
    },
  };

  /** The record was deleted while the store's clock was ahead by more than its retention: nothing can help. */
  function wentBack(deleted: { nowMs: number; retainMs: number } | undefined, nowMs: number): boolean {
    return deleted !== undefined && nowMs < deleted.nowMs - deleted.retainMs && store.troubledAt > -Infinity;
  }
}
