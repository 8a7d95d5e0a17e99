import { obtain } from "./acquire.ts";
import { ask } from "./call.ts";
import type { Runtime } from "./call.ts";
import { CoordError, isCoordError } from "./errors.ts";
import { notice } from "./events.ts";
import type { Keepers } from "./holding.ts";

const everyMs = 600_000;
const pageSize = 1000;
const ttlMs = 60_000;
const furthestClocksMs = 3_600_000;
export const adminLimitMs = 30_000;

export interface ClockOffset {
  /** How far the store's clock is ahead of this host's, in milliseconds. */
  readonly offsetMs: number;
  /** Half of the round trip that measured it. */
  readonly uncertaintyMs: number;
}

export async function measureOffset(runtime: Runtime): Promise<ClockOffset> {
  const { clock } = await ask(runtime, "diagnose", adminLimitMs, (options) =>
    runtime.backend.diagnose(options),
  );
  return {
    offsetMs: clock.storeMs - (clock.beforeMs + clock.afterMs) / 2,
    uncertaintyMs: (clock.afterMs - clock.beforeMs) / 2,
  };
}

/** Refuses to acquire while this host and the store differ by more than `maxMs`; measured every ten minutes. */
export function createOffsetGuard(runtime: Runtime, maxMs: number): () => Promise<void> {
  let measured: Promise<ClockOffset> | undefined;
  let measuredAt = -Infinity;
  return async () => {
    const now = runtime.clock.now();
    if (measured === undefined || now - measuredAt > everyMs) {
      measuredAt = now;
      measured = measureOffset(runtime);
      measured.catch(() => {
        measured = undefined;
      });
    }
    const { offsetMs, uncertaintyMs } = await measured;
    if (Math.abs(offsetMs) - uncertaintyMs <= maxMs) return;
    measured = undefined;
    throw new CoordError(
      "COORD_CLOCK_OFFSET",
      `The store's clock is ${Math.round(offsetMs)} ms ahead of this host's (±${Math.round(uncertaintyMs)} ms), maxClockOffsetMs is ${maxMs}. Synchronise the clocks (NTP), or raise the limit: no decision rests on it.`,
    );
  };
}

/** Deletes all that is past its time; how many records went. */
export async function prune(runtime: Runtime): Promise<number> {
  let pruned = 0;
  for (;;) {
    const count = await ask(runtime, "prune", adminLimitMs, (options) =>
      runtime.backend.prune({ limit: pageSize }, options),
    );
    pruned += count;
    if (count < pageSize) return pruned;
  }
}

/**
 * Clean-up in the background, by one process at a time under a lease of its own, which is left to lapse so
 * that the next one comes a minute later at the earliest. Not while the clocks differ by over an hour: then
 * one of them is wrong, and a wrong clock must not delete anything.
 */
export function startCleanUp(keepers: Keepers, holder: string): void {
  const { host, backend } = keepers;
  if (backend.info.prunes === false) return;
  let cancel: (() => void) | undefined;
  const arm = (): void => {
    if (keepers.background.signal.aborted) return;
    cancel = host.setTimer(() => void round(), everyMs * (0.5 + host.random()), false);
  };
  keepers.background.signal.addEventListener("abort", () => cancel?.(), { once: true });
  async function round(): Promise<void> {
    try {
      const spec = { kind: "system", key: "clean-up", waitMs: 0, renews: false } as const;
      const obtained = await obtain(keepers, { ...spec, holder, ttlMs, sealed: false, retainMs: ttlMs });
      if (obtained.holding === undefined) return;
      const { offsetMs } = await measureOffset(keepers);
      if (Math.abs(offsetMs) > furthestClocksMs) notice({ notice: "clean-up-skipped", offsetMs });
      else notice({ notice: "clean-up", pruned: await prune(keepers) });
      obtained.holding.leave("lapsing");
    } catch (error) {
      if (!isCoordError(error)) throw error;
      notice({ notice: "clean-up-skipped", error });
    } finally {
      arm();
    }
  }
  arm();
}
