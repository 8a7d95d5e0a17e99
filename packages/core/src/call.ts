import { setMaxListeners } from "node:events";
import type { Backend, CallOptions } from "./backend.ts";
import type { Clock, Host } from "./clock.ts";
import { sleep } from "./clock.ts";
import { CoordError, isCoordError, UnavailableError } from "./errors.ts";

/** What the parts of one coordinator share. */
export interface Runtime {
  readonly host: Host;
  readonly clock: Clock;
  readonly backend: Backend;
  readonly namespace: string;
  /** Work that goes on after its caller was answered; a close waits for it. */
  readonly background: Background;
}

export interface Background {
  readonly signal: AbortSignal;
  run(work: (signal: AbortSignal) => Promise<unknown>): void;
}

/** How long core waits for one answer at the most. */
export const longestCallMs = 5000;
const firstPauseMs = 10;
const longestPauseMs = 1000;

/** How long core waits for one answer: a third of the ttl, 5 s at the most. */
export const callLimitMs = (ttlMs: number): number => Math.min(longestCallMs, ttlMs / 3);

export interface CallSpec<T> {
  readonly what: string;
  readonly limitMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Gets an answer that came after nobody waited for it any more. */
  readonly onLate?: ((result: T) => void) | undefined;
}

function unknown(what: string, error: unknown): unknown {
  if (isCoordError(error)) return error;
  // What a backend did not map may have happened all the same: only "unknown" is safe to say of it.
  return new UnavailableError(`${what} failed: it may or may not have happened.`, { cause: error });
}

/** One backend call with a limit; rejects with `COORD_UNAVAILABLE` at it, with the signal's reason on abort. */
export function call<T>(
  host: Host,
  spec: CallSpec<T>,
  send: (options: CallOptions) => Promise<T>,
): Promise<T> {
  const { what, limitMs, signal, onLate } = spec;
  return new Promise<T>((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const controller = new AbortController();
    let open = true;
    const close = (): boolean => {
      if (!open) return false;
      open = false;
      cancel();
      signal?.removeEventListener("abort", onAbort);
      return true;
    };
    const giveUp = (reason: unknown): void => {
      if (!close()) return;
      controller.abort(reason);
      reject(reason);
    };
    const onAbort = (): void => giveUp(signal?.reason);
    const cancel = host.setTimer(
      () =>
        giveUp(
          new UnavailableError(
            `${what}: no answer within ${Math.round(limitMs)} ms; it may or may not have happened.`,
          ),
        ),
      limitMs,
      true,
    );
    signal?.addEventListener("abort", onAbort, { once: true });
    const answered = (result: T): void => (close() ? resolve(result) : onLate?.(result));
    const failed = (error: unknown): void => {
      if (close()) reject(unknown(what, error));
    };
    try {
      send({ signal: controller.signal, timeoutMs: limitMs }).then(answered, failed);
    } catch (error) {
      failed(error);
    }
  });
}

/** A call outside of any lease: the end of the coordinator's close ends it, with `COORD_CLOSED`. */
export const ask = <T>(
  { host, background }: Pick<Runtime, "host" | "background">,
  what: string,
  limitMs: number,
  send: (options: CallOptions) => Promise<T>,
): Promise<T> => call(host, { what, limitMs, signal: background.signal }, send);

export interface RepeatSpec {
  /** On the coordinator's clock: no repeat is sent after it. */
  readonly until: number;
  readonly signal?: AbortSignal | undefined;
  readonly keepAlive?: boolean | undefined;
}

/**
 * Sends the same request again while its outcome is unknown: each operation is safe to repeat. Rejects with
 * the last `COORD_UNAVAILABLE` when the time is up, with the signal's reason on abort.
 */
export async function untilKnown<T>(
  { host, clock }: Pick<Runtime, "host" | "clock">,
  spec: RepeatSpec,
  send: (attempt: number) => Promise<T>,
): Promise<T> {
  let pauseMs = firstPauseMs;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send(attempt);
    } catch (error) {
      spec.signal?.throwIfAborted();
      if (!isCoordError(error, "COORD_UNAVAILABLE")) throw error;
      const askedMs = error instanceof UnavailableError ? (error.retryAfterMs ?? 0) : 0;
      const delayMs = Math.max(askedMs, pauseMs * (0.5 + host.random()));
      if (clock.now() + delayMs >= spec.until) throw error;
      await sleep(host, delayMs, spec.signal, spec.keepAlive);
      spec.signal?.throwIfAborted();
      pauseMs = Math.min(longestPauseMs, pauseMs * 2);
    }
  }
}

/** Background work of one coordinator: never rejects, and can be waited for. */
export function createBackground(): Background & { readonly idle: () => Promise<void>; stop: () => void } {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // Every call outside of a lease listens to it.
  const running = new Set<Promise<unknown>>();
  return {
    signal: controller.signal,
    run(work) {
      const task = work(controller.signal).catch(() => undefined);
      running.add(task);
      void task.then(() => running.delete(task));
    },
    async idle() {
      while (running.size > 0) await Promise.all(running);
    },
    stop: () => controller.abort(new CoordError("COORD_CLOSED", "The coordinator was closed meanwhile.")),
  };
}
