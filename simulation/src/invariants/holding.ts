import type { Handle, Observer, Sim } from "../sim.ts";
import { grantKey } from "../ledger.ts";
import { isExcused } from "./exclusion.ts";

/** 4 and the lease part of 11: what a holder is told is true. */
export function holding(sim: Sim): Observer {
  const { world, store, ledger, shape } = sim;
  const slackMs = 40 + 4 * shape.latencyMs + 2 * Math.min(20, shape.timersLateMs);

  /** Where messages travel, the next renewal tells a holder that it was overruled. */
  function hears(held: Handle): void {
    const { process, holder, ttlMs } = held;
    const grant = ledger.grants.get(grantKey(held.grant));
    if (grant?.ended !== "overruled" && grant?.ended !== "overruled now") return;
    const boundMs = ttlMs / 3 + slackMs;
    if (Math.max(process.troubledAt, store.troubledAt) > grant.endedAt - boundMs) return;
    const agoMs = world.now() - grant.endedAt;
    if (agoMs > boundMs && shape.timersLateMs <= 20)
      sim.violate(
        "4 assertHeld is true",
        `${holder} was overruled ${agoMs.toFixed(0)} ms ago and has not noticed`,
      );
  }

  return {
    leased(held) {
      // No await has passed since core looked at the clock: what is handed out is held.
      try {
        held.lease.assertHeld();
      } catch {
        sim.violate("11 never started late", `${held.acquisition.holder} was handed a lease that is over`);
      }
      if (held.lease.remainingMs <= 0 || held.lease.state !== "held")
        sim.violate(
          "11 never started late",
          `${held.acquisition.holder} was handed a lease without time left`,
        );
    },
    asserted(held) {
      const { grantId, fence } = held.grant;
      const { id, holder } = held;
      const record = store.peek(id);
      hears(held);
      if (isExcused(sim, held)) return;
      const nowMs = store.nowMs();
      const mine = record?.grantId === grantId && record.fence === fence;
      if (mine && record.expiresAt > nowMs) return;
      const grant = ledger.grants.get(grantKey(held.grant));
      const how = mine
        ? `lapsed ${(nowMs - record.expiresAt).toFixed(1)} ms ago`
        : `is ${record?.grantId ?? "gone"}`;
      if (grant?.ended === "overruled") {
        // Not heard of yet, but nobody else was let in, and that ends with the old deadline.
        if (grant.promisedMs > nowMs) return;
      }
      sim.violate("4 assertHeld is true", `${holder} (${grantId}) passes assertHeld, but the record ${how}`);
    },
    lost(held, reason) {
      const { process, holder, askedAt } = held;
      const grant = ledger.grants.get(grantKey(held.grant));
      const recentlyMs = 1.5 * shape.ttlMs + 100;
      const troubled = Math.max(process.troubledAt, store.troubledAt, process.suspendedUntil);
      if (grant?.ended !== undefined || shape.timersLateMs > 20) return;
      if (troubled > Math.min(askedAt, world.now() - recentlyMs)) return;
      if (reason === "closed" || reason === "detached" || reason === "overheld") return;
      sim.violate("renewed while it can be", `${holder} lost its lease (${reason}) without any trouble`);
    },
    released(held) {
      if (!held.signal.aborted)
        sim.violate("14 endings", `${held.acquisition.holder} released, and its signal did not abort`);
    },
  };
}
