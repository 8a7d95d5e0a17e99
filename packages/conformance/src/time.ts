/** The clock and the timers of core while a case runs. */
import { systemHost } from "@coord/core";
import type { Host } from "@coord/core";

export interface DrivenHost {
  readonly host: Host;
  /** Puts both clocks forward; the timers that are due run in the next turns of the event loop. */
  readonly advance: (ms: number) => void;
}

interface Timer {
  readonly dueMs: number;
  readonly run: () => void;
  readonly keepAlive: boolean;
  handle?: NodeJS.Timeout;
}

const longestMs = 3_600_000;

/** Real time, and what `advance` adds to it, so that core and a store whose time is passed stay together. */
export function drivenHost(): DrivenHost {
  const timers = new Set<Timer>();
  let addedMs = 0;
  const nowMs = (): number => performance.now() + addedMs;
  const arm = (timer: Timer): void => {
    clearTimeout(timer.handle);
    const run = (): void => {
      timers.delete(timer);
      timer.run();
    };
    timer.handle = setTimeout(run, Math.min(longestMs, Math.max(0, timer.dueMs - nowMs())));
    if (!timer.keepAlive) timer.handle.unref();
  };
  return {
    host: {
      ...systemHost,
      monotonicMs: nowMs,
      wallMs: () => Date.now() + addedMs,
      setTimer(run, delayMs, keepAlive) {
        const timer: Timer = { dueMs: nowMs() + delayMs, run, keepAlive };
        timers.add(timer);
        arm(timer);
        return () => {
          timers.delete(timer);
          clearTimeout(timer.handle);
        };
      },
    },
    advance(ms) {
      addedMs += ms;
      for (const timer of [...timers].toSorted((a, b) => a.dueMs - b.dueMs)) arm(timer);
    },
  };
}
