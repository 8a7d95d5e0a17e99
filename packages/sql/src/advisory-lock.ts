import { setTimeout as sleep } from "node:timers/promises";
import { ConfigurationError, InvalidArgumentError, UnavailableError } from "@coord/core";
import { checkNesting, holding } from "./context.ts";
import { LockLostError, LockTimeoutError } from "./errors.ts";
import { isHeard, type LockWaitEvent, publish } from "./events.ts";
import { mapped } from "./failures.ts";
import { checkMs, type Limit, LimitReached, startLimit } from "./limit.ts";
import { lockKeyOf, takeLock, freeLock, serverIdOf } from "./lock-statements.ts";
import { checkOut, type Connection, dialectOf, type SqlPool } from "./pool.ts";

export interface AdvisoryLockOptions {
  /** Milliseconds to wait for the lock, 0 (try once) to 86,400,000. @default 10_000 */
  readonly timeoutMs?: number | undefined;
  /** Ends the wait with its reason; once the lock is held, `fn` goes on. */
  readonly signal?: AbortSignal | undefined;
}

/** A lock that is held. */
export interface HeldLock {
  readonly name: string;
  /** Aborts, with a `LockLostError`, when the connection that holds the lock breaks: stop then. */
  readonly signal: AbortSignal;
}

/** What the server may take for an answer, beyond the wait itself. */
const graceMs = 5000;
/** How often the connection is asked whether it is still there. */
const heartbeatMs = 5000;

const longestNameBytes = 512;

function checkName(name: string): void {
  if (typeof name === "string" && name !== "" && Buffer.byteLength(name) <= longestNameBytes) return;
  throw new InvalidArgumentError(
    `A lock's name must be a text of 1 to ${longestNameBytes} bytes, got ${typeof name === "string" ? `${Buffer.byteLength(name)} bytes` : typeof name}.`,
  );
}

const direct = new WeakSet<object>();

/**
 * A session's lock belongs to a connection of the server. Behind a pooler that hands these around, the next statement
 * may meet another one, and the lock would stay behind with nobody to free it.
 */
async function refusePooler(connection: Connection, limit: Limit): Promise<void> {
  const { identity, serverId } = connection;
  if (direct.has(identity) || serverId === undefined) return;
  if ((await limit.race(serverIdOf(connection))) !== serverId) {
    throw new ConfigurationError(
      "A pooler or proxy (PgBouncer, ProxySQL or the like) stands between this pool and the server, so that an advisory lock would not belong to this connection. Give advisoryLock a pool that is connected to the server itself, or use a lease.",
    );
  }
  direct.add(identity);
}

const timedOut = (name: string, waitedMs: number): LockTimeoutError =>
  new LockTimeoutError(
    `The lock ${JSON.stringify(name)} was not free within ${Math.round(waitedMs)} ms: somebody else holds it.`,
    { lock: name, waitedMs },
  );

/** What ended a wait that was not decided; the connection has been cut. */
function waitError(connection: Connection, error: unknown): unknown {
  if (!(error instanceof LimitReached)) return mapped(connection.dialect, error, true);
  if (error.abort !== undefined) return error.abort.reason;
  return new UnavailableError("The server did not answer in time whether the lock is free.", {
    cause: error,
    notDone: true,
  });
}

/** A connection that holds the lock. */
async function acquire(
  pool: SqlPool,
  name: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Connection> {
  const startedAt = performance.now();
  const limit = startLimit(timeoutMs + graceMs, signal);
  try {
    const connection = await checkOut(pool, limit);
    const endsAt = startedAt + timeoutMs;
    try {
      await refusePooler(connection, limit);
      const pause = (pauseMs: number): Promise<void> => limit.race(sleep(pauseMs));
      if (await limit.race(takeLock(connection, lockKeyOf(name), endsAt, pause))) return connection;
    } catch (error) {
      connection.destroy();
      throw waitError(connection, error);
    }
    connection.release();
    throw timedOut(name, performance.now() - startedAt);
  } finally {
    limit.end();
  }
}

interface Watch {
  readonly signal: AbortSignal;
  stop(): void;
}

/** Notices that the connection broke, also where nobody says so. */
function watch(connection: Connection, name: string): Watch {
  const lost = new AbortController();
  const lose = (cause: unknown): void =>
    lost.abort(
      new LockLostError(
        `The connection that holds the lock ${JSON.stringify(name)} broke: somebody else may hold it now.`,
        { lock: name, cause },
      ),
    );
  connection.onBreak(() => lose(undefined));
  let isAsking = false;
  const timer = setInterval(() => {
    if (isAsking) return lose(new Error(`no answer within ${heartbeatMs} ms`));
    isAsking = true;
    connection.control("SELECT 1").then(() => {
      isAsking = false;
    }, lose);
  }, heartbeatMs);
  timer.unref();
  return { signal: lost.signal, stop: () => clearInterval(timer) };
}

/** Frees the lock and gives the connection back; `false` where the server does not say that it was still held. */
async function release(connection: Connection, name: string, isLost: boolean): Promise<boolean> {
  const limit = startLimit(graceMs, undefined);
  try {
    if (!isLost && (await limit.race(freeLock(connection, lockKeyOf(name))))) {
      connection.release();
      return true;
    }
  } catch {
    // Not freed in words, so by hanging up.
  } finally {
    limit.end();
  }
  connection.destroy();
  return false;
}

async function hold<T>(connection: Connection, name: string, fn: (lock: HeldLock) => Promise<T>): Promise<T> {
  const heldSince = performance.now();
  const watching = watch(connection, name);
  let isFreed = false;
  const free = async (): Promise<void> => {
    watching.stop();
    isFreed = await release(connection, name, watching.signal.aborted);
    if (!isHeard()) return;
    publish({
      kind: "advisory-unlock",
      dialect: connection.dialect,
      lock: name,
      outcome: isFreed ? "released" : "lost",
      heldMs: performance.now() - heldSince,
    });
  };
  let result: T;
  try {
    result = await fn({ name, signal: watching.signal });
  } catch (error) {
    await free();
    throw error;
  }
  await free();
  if (isFreed) return result;
  throw new LockLostError(
    `The lock ${JSON.stringify(name)} was lost before the work was done: somebody else may have held it meanwhile.`,
    { lock: name, result, cause: watching.signal.reason },
  );
}

/**
 * Runs `fn` while this process holds the lock `name`: nobody else of the same database does. The lock has a connection
 * of the pool to itself for as long, on which nothing else is done; freeing it is checked, and in doubt the connection
 * is cut, so the lock never stays behind in the pool. So `fn` and all that wait take a connection each: size the pool
 * accordingly, or give locks a pool of their own.
 *
 * Begin transactions inside of `fn`, not around: the lock must outlast the commit.
 *
 * @throws {LockTimeoutError} somebody else held it for all of `timeoutMs`.
 * @throws {LockLostError} `fn` returned, but the connection broke meanwhile.
 * @throws {ConfigurationError} behind a pooler, where the lock would not belong to the connection.
 * @throws {CoordError} `COORD_REENTRANT` where it would wait for itself.
 */
export async function advisoryLock<T>(
  pool: SqlPool,
  name: string,
  fn: (lock: HeldLock) => Promise<T>,
  options: AdvisoryLockOptions = {},
): Promise<T> {
  const { timeoutMs = 10_000, signal } = options;
  const dialect = dialectOf(pool);
  checkName(name);
  checkMs("timeoutMs", timeoutMs, 0);
  checkNesting(pool, name);
  const startedAt = performance.now();
  const tell = (outcome: LockWaitEvent["outcome"], failure: { readonly error?: unknown }): void => {
    if (!isHeard()) return;
    const waitedMs = performance.now() - startedAt;
    publish({ kind: "advisory-lock", dialect, lock: name, outcome, waitedMs, ...failure });
  };
  let connection: Connection;
  try {
    connection = await acquire(pool, name, timeoutMs, signal);
  } catch (error) {
    tell(error instanceof LockTimeoutError ? "timeout" : "failed", { error });
    throw error;
  }
  tell("locked", {});
  return holding(pool, name, () => hold(connection, name, fn));
}
