import { AsyncLocalStorage } from "node:async_hooks";
import { CoordError, LeaseLostError, UnavailableError } from "./errors.ts";
import type { LeaseHandle } from "./lease.ts";

/** The keys that the current async context holds through `withLease`, innermost first. */
interface Held {
  /** The contexts of one coordinator. */
  readonly owner: object;
  readonly id: string;
  active: boolean;
  readonly outer: Held | undefined;
}

export interface Contexts {
  /** Throws `COORD_REENTRANT` if the current context holds this key already: waiting for it would hang. */
  check(id: string, key: string): void;
  /** Whether the current context runs within work of this id that has not settled. */
  within(id: string): boolean;
  run<T>(id: string, work: () => Promise<T>): Promise<T>;
}

/** One for all coordinators: Node 20 never lets go of a storage, and each one slows every promise down. */
const storage = new AsyncLocalStorage<Held>();

export function createContexts(): Contexts {
  const owner = {};
  const within = (id: string): boolean => {
    for (let held = storage.getStore(); held !== undefined; held = held.outer)
      if (held.active && held.owner === owner && held.id === id) return true;
    return false;
  };
  return {
    within,
    check(id, key) {
      if (!within(id)) return;
      throw new CoordError(
        "COORD_REENTRANT",
        `"${key}" is held by the code that now asks for it: leases are not re-entrant, this would wait for itself. Pass the lease on instead.`,
      );
    },
    async run(id, work) {
      const held: Held = { owner, id, active: true, outer: storage.getStore() };
      try {
        return await storage.run(held, work);
      } finally {
        held.active = false;
      }
    },
  };
}

/** Ends a lease after its callback; a store that can't be reached now is no failure of the callback. */
async function finish(lease: LeaseHandle, minHoldMs: number): Promise<void> {
  try {
    const restMs = minHoldMs - lease.heldMs;
    if (restMs > 0 && lease.state === "held") await lease.lapseIn(restMs);
    else await lease.release();
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
  }
}

/** Runs `work` under a lease that was granted, and ends the lease whatever comes. */
export async function runUnder<T>(
  lease: LeaseHandle,
  minHoldMs: number,
  work: (lease: LeaseHandle) => Promise<T> | T,
): Promise<T> {
  let result: T;
  try {
    result = await work(lease);
  } catch (error) {
    // The callback's own error is what its caller needs, whatever becomes of the lease.
    await finish(lease, minHoldMs).catch(() => undefined);
    throw error;
  }
  try {
    await finish(lease, minHoldMs);
  } catch (error) {
    if (!(error instanceof LeaseLostError)) throw error;
    const message = `${error.message} The callback finished all the same; what it did was not protected to its end.`;
    throw new LeaseLostError(lease, error.reason, message, { cause: error, result });
  }
  return result;
}
