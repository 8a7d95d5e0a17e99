import { randomFillSync } from "node:crypto";

/** What core takes from its surroundings; a simulation injects its own. */
export interface Host {
  /** Milliseconds that only grow; may stand still while the machine is suspended. */
  monotonicMs(): number;
  /** Milliseconds since 1970; may step. */
  wallMs(): number;
  /** Runs once after `delayMs`; the answer cancels it. `keepAlive`: the process stays up for it. */
  setTimer(run: () => void, delayMs: number, keepAlive: boolean): () => void;
  /** From 0 to 1, for jitter. */
  random(): number;
  /** 128 random bits as text. */
  randomId(): string;
}

/** `setTimeout` overflows at 2^31 ms; whoever waits longer asks again. */
export const longestTimerMs = 3_600_000;

const idBytes = 16;
/** Random bytes are dear to ask for one by one. */
const randomPool = Buffer.alloc(idBytes * 256);
let randomUsed = randomPool.length;

export const systemHost: Host = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer(run, delayMs, keepAlive) {
    const timer = setTimeout(run, Math.min(longestTimerMs, Math.max(0, delayMs)));
    if (!keepAlive) timer.unref();
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
  randomId() {
    if (randomUsed === randomPool.length) {
      randomFillSync(randomPool);
      randomUsed = 0;
    }
    return randomPool.toString("base64url", randomUsed, (randomUsed += idBytes));
  },
};

export interface Clock {
  /** Elapsed milliseconds, time in which the machine was suspended included. */
  now(): number;
}

/** Smaller differences between the two clocks are noise (a wall clock counts whole milliseconds). */
const noiseMs = 10;

/**
 * The monotonic clock, put forward whenever the wall clock ran ahead of it: a suspended machine's monotonic
 * clock may stand still (Linux CLOCK_MONOTONIC does). A wall clock set forward counts as elapsed time too,
 * which ends leases early and never late. It must be read about once a second to tell a suspension from a
 * step back.
 */
export function createClock(host: Host): Clock {
  let addedMs = 0;
  let lead = host.wallMs() - host.monotonicMs();
  return {
    now() {
      const monotonic = host.monotonicMs();
      const newLead = host.wallMs() - monotonic;
      if (newLead - lead > noiseMs) {
        addedMs += newLead - lead;
        lead = newLead;
      } else if (newLead < lead) lead = newLead;
      return monotonic + addedMs;
    },
  };
}

export interface Pause {
  /** Resolves after the time, at once when the signal aborts, or when it is ended; it never rejects. */
  readonly over: Promise<void>;
  readonly end: () => void;
}

/** A wait of up to an hour at a time; whoever calls looks at the clock and the signal after it. */
export function pause(host: Host, delayMs: number, signal?: AbortSignal, keepAlive = true): Pause {
  const { promise: over, resolve } = deferred();
  const end = (): void => {
    cancel();
    signal?.removeEventListener("abort", end);
    resolve();
  };
  const cancel = host.setTimer(end, Math.min(delayMs, longestTimerMs), keepAlive);
  if (signal?.aborted) end();
  else signal?.addEventListener("abort", end, { once: true });
  return { over, end };
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  const parts: { resolve?: () => void } = {};
  const promise = new Promise<void>((resolve) => {
    parts.resolve = resolve;
  });
  return { promise, resolve: () => parts.resolve?.() };
}

export function sleep(host: Host, delayMs: number, signal?: AbortSignal, keepAlive = true): Promise<void> {
  return pause(host, delayMs, signal, keepAlive).over;
}

/** Waits until `done` settles, for `limitMs` at the most; never rejects. */
export async function waitUpTo(host: Host, limitMs: number, done: Promise<unknown>): Promise<void> {
  const limit = pause(host, limitMs);
  done.then(limit.end, limit.end);
  await limit.over;
}
