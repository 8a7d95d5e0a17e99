import type { Acquisition, Observer, Sim } from "../sim.ts";
import { isNewGrant } from "../ledger.ts";

/** 5: a confirmed save is what the next holder reads, or a newer one. */
export function payload(sim: Sim): Observer {
  const confirmed = new Map<string, number>();
  /** What was stored since the record was last deleted. */
  const stored = new Map<string, Set<string>>();
  const expected = new Map<string, { atLeast: number }>();
  return {
    saved(held, number) {
      const { id } = held.acquisition;
      // Deleted with its record before its sender heard of it, as happens when the store's clock ran ahead.
      if (stored.get(id)?.has(`{"checkpoint":${number}}`) !== true) return;
      confirmed.set(id, Math.max(number, confirmed.get(id) ?? 0));
    },
    step(step) {
      if (step.op === "prune") {
        confirmed.delete(step.id);
        stored.delete(step.id);
      }
      if (step.op === "renew" && step.result === "renewed" && step.request.payload !== undefined)
        stored.set(step.id, (stored.get(step.id) ?? new Set()).add(step.request.payload));
      if (step.op === "acquire" && isNewGrant(step))
        expected.set(step.request.grantId, { atLeast: confirmed.get(step.id) ?? 0 });
    },
    leased(held) {
      const { checkpoint, grant } = held.lease;
      const { atLeast = 0 } = expected.get(grant.grantId) ?? {};
      const found = typeof checkpoint === "number" ? checkpoint : 0;
      if (found < atLeast) sim.violate("5 saves are kept", told(held.acquisition, found, atLeast));
    },
  };
}

const told = ({ holder }: Acquisition, found: number, atLeast: number): string =>
  `${holder} found checkpoint ${found}, but ${atLeast} was confirmed before`;
