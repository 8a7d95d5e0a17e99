import type { Acquisition, Observer, Sim } from "../sim.ts";
import { callLimitMs } from "./endings.ts";

const pushedPollMs = 5000;
/** Core's longest pause between two tries while nothing answers. */
const backoffMs = 1500;

/** 15: a free name with a waiter is granted, and no call hangs. */
export function waiting(sim: Sim): Observer {
  const { world, store, shape } = sim;
  const limitMs = callLimitMs(shape.ttlMs);
  const slackMs = 100 + 8 * shape.latencyMs + 4 * Math.min(20, shape.timersLateMs);
  const boundMs = 1.5 * (shape.push ? pushedPollMs : shape.pollMs) + limitMs + slackMs;
  /** Since when a name is free without a break, in true time. */
  const changedAt = new Map<string, number>();

  function freeSince(id: string): number {
    const record = store.peek(id);
    if (record === undefined) return changedAt.get(id) ?? 0;
    if (record.sealed) return Infinity;
    const lapsedAt = world.now() - (store.nowMs() - record.expiresAt) / (shape.rates[0] ?? 1);
    if (record.expiresAt === 0) return changedAt.get(id) ?? Infinity;
    return record.expiresAt <= store.nowMs() ? Math.max(lapsedAt, changedAt.get(id) ?? 0) : Infinity;
  }

  function probe(acquisition: Acquisition): void {
    const { process, life, settledAt, overAt, id, waitMs, askedAt, holder } = acquisition;
    if (settledAt !== undefined || overAt !== undefined || process.life !== life) return;
    const waits = waitMs > 0 && world.now() < askedAt + waitMs;
    const calm = Math.max(process.troubledAt, store.troubledAt, process.suspendedUntil, askedAt);
    // After trouble, core asks again at growing intervals.
    const since = Math.max(calm > askedAt ? calm + backoffMs : calm, freeSince(id));
    if (waits && !process.blocked && shape.timersLateMs <= 20 && since + boundMs < world.now()) {
      const free = (world.now() - freeSince(id)).toFixed(0);
      sim.violate("15 waiters are served", `${holder} waits, though the name is free for ${free} ms`);
    }
    world.after(Math.max(boundMs / 2, 50), () => probe(acquisition));
  }

  return {
    step(step) {
      if (step.before !== step.after) changedAt.set(step.id, world.now());
    },
    asked: probe,
    settled() {
      for (const { settledAt, process, life, holder, overAt, over } of sim.acquisitions) {
        if (settledAt !== undefined || process.life !== life) continue;
        const after = overAt === undefined ? "" : ` after it ${over.how}`;
        sim.violate("15 nothing hangs", `${holder} still waits for an answer${after}`);
      }
    },
  };
}
