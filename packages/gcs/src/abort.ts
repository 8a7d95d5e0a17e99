/** One listener a signal for all who wait on it: a batch of renewals shares its signal, and many listeners warn. */
const callbacks = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls back once when the signal is aborted, until the returned function is called. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  let waiting = callbacks.get(signal);
  if (waiting === undefined) {
    const made = new Set<() => void>();
    waiting = made;
    callbacks.set(signal, made);
    signal.addEventListener("abort", () => made.forEach((waiter) => waiter()), { once: true });
  }
  const all = waiting.add(callback);
  return () => void all.delete(callback);
}
