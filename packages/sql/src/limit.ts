/** A limit in time for something that takes many steps. */
import { InvalidArgumentError } from "@coord/core";

export interface Limit {
  /** Settles as `work` does, or rejects at the limit; then `work` goes on unobserved. */
  race<T>(work: Promise<T>): Promise<T>;
  readonly isReached: boolean;
  readonly remainingMs: number;
  end(): void;
}

/** What `race` rejects with. */
export class LimitReached extends Error {
  override readonly name = "LimitReached";
  /** The reason of the caller's signal, where that was the end of it. */
  readonly abort: { readonly reason: unknown } | undefined;

  constructor(message: string, abort?: { readonly reason: unknown }) {
    super(message);
    this.abort = abort;
  }
}

/** Timers overflow beyond this. */
export const longestMs: number = 24 * 3_600_000;

export function checkMs(name: string, value: number, leastMs: number): void {
  if (Number.isFinite(value) && value >= leastMs && value <= longestMs) return;
  throw new InvalidArgumentError(
    `${name} must be a number of milliseconds from ${leastMs} to ${longestMs}, got ${value}.`,
  );
}

export function startLimit(timeoutMs: number, signal: AbortSignal | undefined): Limit {
  const startedAt = performance.now();
  let reached: LimitReached | undefined;
  const stopping = new AbortController();
  const stopped = new Promise<never>((_, reject) => {
    stopping.signal.addEventListener("abort", () => reject(stopping.signal.reason));
  });
  stopped.catch(() => {});
  const stop = (error: LimitReached): void => {
    reached ??= error;
    stopping.abort(reached);
  };
  const timer = setTimeout(() => stop(new LimitReached(`${timeoutMs} ms have passed`)), timeoutMs);
  const onAbort = (): void =>
    stop(new LimitReached("the caller's signal was aborted", { reason: signal?.reason }));
  signal?.addEventListener("abort", onAbort);
  if (signal?.aborted === true) onAbort();
  return {
    race: (work) => {
      work.catch(() => {});
      return Promise.race([stopped, work]);
    },
    get isReached() {
      return reached !== undefined;
    },
    get remainingMs() {
      return Math.max(0, timeoutMs - (performance.now() - startedAt));
    },
    end: () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    },
  };
}
