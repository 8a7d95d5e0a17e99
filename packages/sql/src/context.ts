/** Which connections this async context holds, so that code which would wait for itself is told instead. */
import { AsyncLocalStorage } from "node:async_hooks";
import { CoordError } from "@coord/core";
import { identityOf, sizeOf, type SqlPool } from "./pool.ts";

interface Holding {
  readonly pool: object;
  /** The advisory lock's name; `undefined` for a transaction. */
  readonly lock: string | undefined;
  readonly outer: Holding | undefined;
  isOver: boolean;
}

const holdings = new AsyncLocalStorage<Holding>();

const reentrant = (message: string): CoordError => new CoordError("COORD_REENTRANT", message);

/** @throws {CoordError} `COORD_REENTRANT` where it would wait for a connection or lock that its own caller holds. */
export function checkNesting(pool: SqlPool, lock: string | undefined): void {
  const identity = identityOf(pool);
  let held = 0;
  for (let each = holdings.getStore(); each !== undefined; each = each.outer) {
    if (each.isOver || each.pool !== identity) continue;
    held++;
    if (each.lock === undefined) {
      throw reentrant(
        lock === undefined
          ? "transaction was called inside a transaction of the same pool: it would be another transaction, which can't see this one's changes and may wait for its locks. Pass the session on."
          : `advisoryLock(${JSON.stringify(lock)}) was called inside a transaction of the same pool: the lock would be free again before the commit. Take the lock first, and begin the transaction inside.`,
      );
    }
    if (each.lock === lock) {
      throw reentrant(
        `advisoryLock(${JSON.stringify(lock)}) was called by code that holds it: it would wait for itself.`,
      );
    }
  }
  const size = sizeOf(pool);
  if (size !== undefined && held >= size) {
    throw reentrant(
      `The pool may have ${size} connection(s), and this code holds ${held} of them for advisory locks: it would wait for itself. Give the pool more connections, or locks a pool of their own.`,
    );
  }
}

/** Runs `work` as code that holds a connection of the pool. */
export async function holding<T>(
  pool: SqlPool,
  lock: string | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const own: Holding = { pool: identityOf(pool), lock, outer: holdings.getStore(), isOver: false };
  try {
    return await holdings.run(own, work);
  } finally {
    own.isOver = true;
  }
}
