/** One step on one connection: taken from a pool, checked once, limited in time, repeated after a deadlock. */
import { ConfigurationError, UnavailableError } from "@coord/core";
import type { CallOptions } from "@coord/core";
import { ask, hangUp, headerOf, physical, rowsOf } from "./driver.ts";
import type { Header, MysqlConnection, MysqlPool, MysqlPoolConnection, Row, Value } from "./driver.ts";
import { isConflict, isUsable, mapped } from "./failures.ts";

/** What a step can ask of its connection. */
export interface Session {
  read(sql: string, values: readonly Value[]): Promise<Row[]>;
  write(sql: string, values: readonly Value[]): Promise<Header>;
  /** Runs `work` in a transaction; it ends committed, or not at all. */
  atomically<T>(work: () => Promise<T>): Promise<T>;
}

export interface Source {
  pool(): Promise<MysqlPool>;
  /** Called once for each physical connection, before its first step. */
  prepare(connection: MysqlConnection): Promise<void>;
}

/** Repetitions of a step that the server rolled back because it met another one. */
const MAX_CONFLICTS = 8;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const IN_TRANSACTION = 1;

export type RunStep = <T>(options: CallOptions, step: (session: Session) => Promise<T>) => Promise<T>;

export function createRunStep(source: Source): RunStep {
  const prepared = new WeakSet<object>();

  async function checkOut(limit: Limit): Promise<MysqlPoolConnection> {
    const taking = (async () => (await source.pool()).getConnection())();
    try {
      return await limit.race(taking);
    } catch (error) {
      // It may still arrive; then nobody waits for it.
      void taking.then(
        (connection) => connection.release(),
        () => {},
      );
      throw limit.reached() ? limit.error(true, error) : mapped(error, "connecting");
    }
  }

  return async (options, step) => {
    const limit = startLimit(options);
    try {
      const connection = await checkOut(limit);
      let sent = false;
      try {
        const key = physical(connection);
        if (!prepared.has(key)) {
          await limit.race(source.prepare(connection));
          prepared.add(key);
        }
        sent = true;
        const answer = await repeatConflicts(limit, () => step(sessionOn(connection)));
        connection.release();
        return answer;
      } catch (error) {
        if (isUsable(error)) connection.release();
        else hangUp(connection);
        throw limit.reached() ? limit.error(!sent, error) : mapped(error, sent ? "connected" : "connecting");
      }
    } finally {
      limit.end();
    }
  };
}

/** A deadlock or a lock wait that timed out means that nothing happened: the same step again is not a new one. */
async function repeatConflicts<T>(limit: Limit, step: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await limit.race(step());
    } catch (error) {
      const pauseMs = Math.random() * 5 * attempt;
      if (!isConflict(error) || attempt > MAX_CONFLICTS || limit.remainingMs() <= pauseMs) throw error;
      await limit.race(new Promise((resolve) => setTimeout(resolve, pauseMs)));
    }
  }
}

function sessionOn(connection: MysqlConnection): Session {
  let open = false;
  const session: Session = {
    read: async (sql, values) => rowsOf(await ask(connection, sql, values)),
    write: async (sql, values) => {
      const header = headerOf(await ask(connection, sql, values));
      if (!open && header.serverStatus !== undefined && (header.serverStatus & IN_TRANSACTION) !== 0) {
        hangUp(connection);
        throw new ConfigurationError(
          "A connection of the pool had a transaction open, so the step was not committed and has been undone: end transactions before releasing connections, and leave autocommit on.",
        );
      }
      return header;
    },
    atomically: async (work) => {
      await ask(connection, "START TRANSACTION");
      open = true;
      try {
        const result = await work();
        await ask(connection, "COMMIT");
        return result;
      } catch (error) {
        if (isUsable(error)) await ask(connection, "ROLLBACK");
        throw error;
      } finally {
        open = false;
      }
    },
  };
  return session;
}

interface Limit {
  /** Settles as `work` does, or rejects at the limit; then `work` goes on unobserved. */
  race<T>(work: Promise<T>): Promise<T>;
  reached(): boolean;
  remainingMs(): number;
  error(notDone: boolean, cause: unknown): UnavailableError;
  end(): void;
}

function startLimit({ signal, timeoutMs }: CallOptions): Limit {
  const startedAt = performance.now();
  let reached = false;
  const ended = new AbortController();
  const stop = (): void => {
    reached = true;
    ended.abort();
  };
  const stopped = new Promise<never>((_, reject) => {
    ended.signal.addEventListener("abort", () =>
      reject(new Error("The time limit of the call was reached.")),
    );
  });
  stopped.catch(() => {});
  const timer = setTimeout(stop, Math.min(timeoutMs, LONGEST_TIMER_MS));
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop);
  return {
    race: (work) => {
      work.catch(() => {});
      return Promise.race([stopped, work]);
    },
    reached: () => reached,
    remainingMs: () => timeoutMs - (performance.now() - startedAt),
    error: (notDone, cause) =>
      new UnavailableError(
        `MySQL did not answer within ${timeoutMs} ms, or the call was aborted; ${notDone ? "nothing was sent" : "the step may have happened"}.`,
        { cause, notDone },
      ),
    end: () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    },
  };
}
