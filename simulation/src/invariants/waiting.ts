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
  /** A wake-up and the try after it, on their way. */
  const wakeMs = 20 + 4 * shape.latencyMs;
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

  /** Where wake-ups arrive, nobody has to wait for a poll. */
  function served({ askedAt, holder, id }: Acquisition): void {
    if (!shape.push || shape.network.loseWake > 0 || shape.timersLateMs > 20) return;
    const { troubledAt } = store;
    if (
      sim.acquisitions
        .filter((one) => one.id === id && one.settledAt === undefined)
        .some(({ process }) => {
          const { troubledAt: own, suspendedUntil } = process;
          return Math.max(own, troubledAt, suspendedUntil) >= askedAt;
        })
    )
      return;
    const since = freeSince(id);
    // It subscribes after the first refusal.
    if (since < askedAt + 2 * wakeMs || since + wakeMs > world.now()) return;
    const agoMs = (world.now() - since).toFixed(0);
    sim.violate("15 waiters are woken", `${holder} was not woken, though the name is free for ${agoMs} ms`);
  }

  function probe(acquisition: Acquisition): void {
    const { process, life, settledAt, overAt, id, waitMs, askedAt, holder } = acquisition;
    if (settledAt !== undefined || overAt !== undefined || process.life !== life) return;
    // Who believes to hold it, as its clocks stood still, lets nobody of its own process ask.
    const believes = [...sim.held].some((one) => one.process === process && one.id === id);
    const waits = waitMs > 0 && world.now() < askedAt + waitMs && !believes;
    // After trouble, core asks again at growing intervals.
    const troubledAt = Math.max(process.troubledAt, store.troubledAt, process.suspendedUntil);
    const since = Math.max(askedAt, troubledAt + backoffMs, freeSince(id));
    if (waits && !process.blocked && shape.timersLateMs <= 20 && since + boundMs < world.now()) {
      const free = (world.now() - freeSince(id)).toFixed(0);
      sim.violate("15 waiters are served", `${holder} waits, though the name is free for ${free} ms`);
    }
    world.after(Math.max(boundMs / 2, 50), () => probe(acquisition));
  }

  return {
    step(step) {
      if (step.before !== step.after) changedAt.set(step.id, world.now());
      if (step.before === step.after || step.after?.expiresAt !== 0) return;
      world.after(wakeMs + 1, () => {
        for (const one of sim.acquisitions) {
          const { id, settledAt, overAt, process, life, askedAt, waitMs } = one;
          if (id !== step.id || settledAt !== undefined || overAt !== undefined) continue;
          if (process.life === life && world.now() < askedAt + waitMs) served(one);
        }
      });
    },
    asked: probe,
    over(acquisition) {
      const { process, life, settledAt, holder, over, overAt = 0 } = acquisition;
      if (over.how !== "aborts" || settledAt !== undefined) return;
      world.after(60, () => {
        if (process.life !== life || process.troubledAt > overAt || acquisition.settledAt !== undefined)
          return;
        sim.violate("15 nothing hangs", `${holder} aborted 60 ms ago and has no answer`);
      });
    },
    failed({ holder, waitMs, askedAt, process }, code) {
      const waitedMs = world.now() - askedAt;
      // Where the clocks jump, a wait is over when they say so.
      if (process.clockJumpedAt > askedAt - backoffMs) return;
      if (code === "COORD_UNAVAILABLE" && waitedMs < waitMs - backoffMs - slackMs)
        sim.violate(
          "15 unknown is repeated",
          `${holder} may wait ${waitMs} ms and gives up after ${waitedMs.toFixed(0)}`,
        );
    },
    settled() {
      for (const { process, life, label } of sim.busy)
        if (process.life === life)
          sim.violate("15 nothing hangs", `${label} on ${process.name} waits for ever`);
      for (const { settledAt, process, life, holder, overAt, over } of sim.acquisitions) {
        if (settledAt !== undefined || process.life !== life) continue;
        const after = overAt === undefined ? "" : ` after it ${over.how}`;
        sim.violate("15 nothing hangs", `${holder} still waits for an answer${after}`);
      }
    },
  };
}
