import type { Clock, Host } from "./clock.ts";

/** Something that ends by itself when its time is up. */
export interface Timed {
  /** On the coordinator's clock. */
  readonly endsAt: number;
  /** How late its end may be noticed at the most when the machine was suspended, in milliseconds. */
  readonly marginMs: number;
  /** Looks at the time; called at `endsAt` and every now and then before. */
  check(now: number): void;
}

export interface Deadlines {
  add(timed: Timed): void;
  delete(timed: Timed): void;
}

const longestTickMs = 1000;

/**
 * One ticker for all that one coordinator holds. It wakes for the next end, and at least every
 * min(margin/2, 1 s), so that the clock notices a suspended machine.
 */
export function createDeadlines(host: Host, clock: Clock): Deadlines {
  const held = new Set<Timed>();
  let cancel: (() => void) | undefined;
  let wakesAt = Infinity;

  function arm(at: number, now: number): void {
    if (at >= wakesAt) return;
    cancel?.();
    wakesAt = at;
    cancel = host.setTimer(tick, Math.ceil(at - now), false);
  }

  const nextLook = (timed: Timed, now: number): number =>
    Math.min(timed.endsAt, now + Math.min(timed.marginMs / 2, longestTickMs));

  function tick(): void {
    cancel = undefined;
    wakesAt = Infinity;
    const now = clock.now();
    for (const timed of held) timed.check(now);
    let next = Infinity;
    for (const timed of held) next = Math.min(next, nextLook(timed, now));
    if (next < Infinity) arm(next, now);
  }

  return {
    add(timed) {
      held.add(timed);
      const now = clock.now();
      arm(nextLook(timed, now), now);
    },
    delete(timed) {
      held.delete(timed);
      if (held.size > 0) return;
      cancel?.();
      cancel = undefined;
      wakesAt = Infinity;
    },
  };
}
