import { type CallOptions, UnavailableError } from "@coord/core";
import { mapError } from "./errors.ts";

/** The server's own limit for a command whose answer nobody waits for any longer than that. */
export const commandLimitMs = (timeoutMs: number): number => Math.max(1, Math.ceil(timeoutMs));

/**
 * Waits for `work` no longer than its caller does, and maps what it throws. The driver has no limit of its
 * own that holds: `timeoutMS` has no effect, and selecting a server takes 30 s by default. `work` is told
 * when nobody waits any more, so that it sends nothing after that.
 */
export async function bounded<T>(
  doing: string,
  { signal, timeoutMs }: CallOptions,
  work: (gaveUp: AbortSignal) => Promise<T>,
): Promise<T> {
  if (signal.aborted) {
    throw new UnavailableError(`mongodb: ${doing} was not sent, its caller had given up.`, {
      notDone: true,
      cause: signal.reason,
    });
  }
  const gaveUp = new AbortController();
  let onAbort: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  const givenUp = new Promise<never>((_, reject) => {
    const giveUp = (error: UnavailableError): void => {
      gaveUp.abort(error);
      reject(error);
    };
    onAbort = () => {
      giveUp(new UnavailableError(`mongodb: the caller of ${doing} gave up.`, { cause: signal.reason }));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    timer = setTimeout(() => {
      giveUp(new UnavailableError(`mongodb: ${doing} was not answered within ${timeoutMs} ms.`));
    }, timeoutMs);
  });
  try {
    return await Promise.race([work(gaveUp.signal), givenUp]);
  } catch (error) {
    throw mapError(error, doing);
  } finally {
    clearTimeout(timer);
    if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
  }
}
