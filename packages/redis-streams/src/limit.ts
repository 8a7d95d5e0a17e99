import { setMaxListeners } from "node:events";
import type { CallOptions } from "@coord/core";

const never = new AbortController().signal;
setMaxListeners(0, never); // each call under way has one

/** Options of a call of our own, which nobody aborts. */
export function within(timeoutMs: number): CallOptions {
  return { signal: never, timeoutMs };
}

/** Waits for `work`, but not for longer than its caller does; `onGiveUp` gets why an abort came. */
export async function limited<T>(
  work: Promise<T>,
  { signal, timeoutMs }: CallOptions,
  onGiveUp: (cause: unknown) => Error,
): Promise<T> {
  const over = deferred<never>();
  const giveUp = (cause: unknown): void => over.reject(onGiveUp(cause));
  const onAbort = (): void => giveUp(signal.reason);
  const timer = setTimeout(giveUp, timeoutMs, undefined);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

/** Runs a call that sends many commands: they listen to a signal of their own, the caller's gets one listener. */
export async function forked<T>(
  { signal, timeoutMs }: CallOptions,
  work: (call: CallOptions) => Promise<T>,
): Promise<T> {
  const fork = new AbortController();
  setMaxListeners(0, fork.signal);
  const onAbort = (): void => fork.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await work({ signal: fork.signal, timeoutMs });
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
}

const notYet = (): void => {};

/** `Promise.withResolvers`, which Node 20 has not. Nobody needs to listen: a rejection alone ends no process. */
export function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = notYet;
  let reject: (reason: unknown) => void = notYet;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}
