import { isNewGrant } from "../ledger.ts";
import type { Acquisition, Observer, Sim } from "../sim.ts";

/** Core's limit for one call, and what it waits between two at the most while nothing answers. */
export const callLimitMs = (ttlMs: number): number => Math.min(5000, ttlMs / 3);

/** 14: what nobody wants any more does not stay held. */
export function endings(sim: Sim): Observer {
  const { world, store, ledger, shape } = sim;
  const slackMs = 60 + 6 * shape.latencyMs + 3 * Math.min(5, shape.timersLateMs);
  /** When a release of a grant was last answered, in true time. */
  const answeredAt = new Map<string, number>();
  const byHolder = new Map<string, Acquisition>();

  const heldGrant = (acquisition: Acquisition): string | undefined => {
    const { current } = ledger.of(acquisition.id);
    const record = store.peek(acquisition.id);
    if (current?.holder !== acquisition.holder || current.ended !== undefined) return undefined;
    if (record?.grantId !== current.grantId || record.expiresAt <= store.nowMs()) return undefined;
    return current.grantId;
  };

  function calmSince(acquisition: Acquisition, sinceMs: number): boolean {
    const { process, life } = acquisition;
    return (
      process.life === life && !process.blocked && Math.max(process.troubledAt, store.troubledAt) < sinceMs
    );
  }

  /** A request that was stuck on the way may be granted when nobody reads its answer any more. */
  function wasStuck({ id, process }: Acquisition): boolean {
    const { current } = ledger.of(id);
    const troubledAt = Math.max(process.troubledAt, store.troubledAt);
    return current !== undefined && current.grantedAt <= troubledAt + 2 * shape.latencyMs;
  }

  /** With nothing in the way, what was given up is free as soon as messages travel. */
  function soon(acquisition: Acquisition): void {
    const overAt = acquisition.overAt ?? world.now();
    world.after(slackMs, () => {
      if (!calmSince(acquisition, overAt - callLimitMs(acquisition.ttlMs) - slackMs)) return;
      const grantId = heldGrant(acquisition);
      if (wasStuck(acquisition)) return;
      if (grantId !== undefined && acquisition.held?.left !== true)
        sim.violate(
          "14 endings",
          `${acquisition.holder} ${acquisition.over.how} ${slackMs.toFixed(0)} ms ago, but ${grantId} is still held`,
        );
    });
  }

  /** A lost release is sent again at the next limit. */
  function repeated(acquisition: Acquisition): void {
    const overAt = acquisition.overAt ?? world.now();
    world.after(callLimitMs(acquisition.ttlMs) + 20 + slackMs, () => {
      const { process, life } = acquisition;
      const troubled = Math.max(process.troubledAt, store.troubledAt) > overAt + 2 * shape.latencyMs + 1;
      const jumped = process.clockJumpedAt > acquisition.askedAt;
      if (troubled || jumped || process.life !== life || shape.timersLateMs > 20) return;
      const grantId = heldGrant(acquisition);
      // A release that overtook its acquire was answered: nothing more can be asked of core.
      if (wasStuck(acquisition)) return;
      if (grantId === undefined || (answeredAt.get(grantId) ?? -Infinity) >= overAt) return;
      if (acquisition.held?.left !== true)
        sim.violate(
          "14 endings",
          `${acquisition.holder} ${acquisition.over.how}, but ${grantId} was not released again`,
        );
    });
  }

  /** Whatever was in the way: nothing that was sent after the end may have made it longer. */
  function withinTtl(acquisition: Acquisition): void {
    const overAt = acquisition.overAt ?? world.now();
    const check = (): void => {
      const grantId = heldGrant(acquisition);
      const grant = grantId === undefined ? undefined : ledger.of(acquisition.id).current;
      if (grant !== undefined && grant.extendedBySentAt > overAt + slackMs)
        sim.violate(
          "14 endings",
          `${acquisition.holder} ${acquisition.over.how} long ago, but ${grantId} is renewed`,
        );
    };
    world.after(acquisition.ttlMs * 1.002 + slackMs, check);
  }

  return {
    asked: (acquisition) => void byHolder.set(acquisition.holder, acquisition),
    over(acquisition) {
      soon(acquisition);
      repeated(acquisition);
      withinTtl(acquisition);
    },
    step(step) {
      if (step.op === "release") answeredAt.set(step.request.grantId, world.now());
      if (!isNewGrant(step) || step.op !== "acquire") return;
      const acquisition = byHolder.get(step.request.holder);
      const { grantId } = step.request;
      if (acquisition === undefined) return;
      // A grant belongs to a handle, or is on its way to one, or is given back: nobody leaves it lying about.
      world.after(callLimitMs(acquisition.ttlMs) + slackMs, () => {
        const mine = acquisition.held?.lease.grant.grantId === grantId;
        if (mine || heldGrant(acquisition) !== grantId) return;
        const since = world.now() - 2 * callLimitMs(acquisition.ttlMs) - 2 * slackMs;
        if (calmSince(acquisition, since))
          sim.violate(
            "14 endings",
            `${grantId} was granted to ${acquisition.holder}, which does not know of it`,
          );
      });
    },
    settled() {
      for (const acquisition of sim.acquisitions) {
        const grantId = heldGrant(acquisition);
        if (grantId === undefined || acquisition.held?.left === true) continue;
        if (store.troubledAt === -Infinity)
          sim.violate(
            "14 endings",
            `${grantId} of ${acquisition.holder} is held, long after the end of everything`,
          );
      }
    },
  };
}
