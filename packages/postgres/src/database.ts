import { type CallOptions, InvalidArgumentError, UnavailableError } from "@coord/core";
import {
  ignore,
  isPool,
  type PooledConnection,
  type PostgresClient,
  type PostgresPool,
  type QueryConfig,
  surviveErrors,
} from "./client.ts";
import { endsConnection, isPoolersFault, toCoordError } from "./errors.ts";
import type { Row } from "./rows.ts";
import type { Statement } from "./statements.ts";

/** One statement, one round trip; throws errors of core. */
export type Run = (
  statement: Statement,
  values: readonly unknown[],
  options: CallOptions,
) => Promise<readonly Row[]>;

/** Waits for the promise or the end of the caller's patience, whichever comes first. */
export function untilAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal,
  whenAborted: () => Error,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(whenAborted());
    const finish = (): void => signal.removeEventListener("abort", onAbort);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(finish);
    if (signal.aborted) onAbort();
  });
}

const unsent = (cause: unknown): Error =>
  new UnavailableError("the call was given up before the statement was sent to PostgreSQL", {
    cause,
    notDone: true,
  });
const unanswered = (cause: unknown): Error =>
  new UnavailableError("the call was given up before PostgreSQL answered", { cause });

function checkText(value: unknown): void {
  if (Array.isArray(value)) for (const element of value) checkText(element);
  else if (typeof value === "string" && /[\0\p{Surrogate}]/u.test(value)) {
    throw new InvalidArgumentError(
      "PostgreSQL can't hold U+0000 or a lone surrogate in a text, and this one has one; encode it, for instance as JSON",
    );
  }
}

function isRow(value: unknown): value is Row {
  return typeof value === "object" && value !== null;
}

/** The rows of an answer; a replica's are none, as it lags, and the pool is rid of the connection to it. */
function rowsOf(result: { readonly rows: readonly unknown[] }): readonly Row[] {
  const rows = result.rows.filter(isRow);
  if (rows[0]?.["standby"] === true) {
    throw new UnavailableError("PostgreSQL answered from a standby, which lags; connect to the primary", {
      notDone: true,
    });
  }
  return rows;
}

/** A connection of the pool, or nothing sent: one that comes too late goes back unused. */
async function checkOut(pool: PostgresPool, signal: AbortSignal): Promise<PooledConnection> {
  const connecting = pool.connect();
  try {
    return await untilAborted(connecting, signal, () => unsent(signal.reason));
  } catch (error) {
    if (signal.aborted) connecting.then((connection) => connection.release(), ignore);
    throw toCoordError(error, "connecting");
  }
}

/** Runs on the connection and gives it back when the statement has ended, which may be after the caller has left. */
async function runAndGiveBack(
  connection: PooledConnection,
  work: (connection: PooledConnection) => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  connection.on("error", ignore);
  let destroy = false;
  try {
    return await work(connection);
  } catch (error) {
    destroy = endsConnection(error);
    throw error;
  } finally {
    connection.removeListener("error", ignore);
    connection.release(destroy);
  }
}

/** The server gives up a lock at the call's limit; its answer saves the connection, so that is waited for. */
const graceMs = 1000;

function runOnPool(pool: PostgresPool, prepare: boolean): Run {
  let named = prepare;

  async function send(
    connection: PooledConnection,
    statement: Statement,
    values: unknown[],
    timeoutMs: number,
  ) {
    const config: QueryConfig = { text: statement.text, values, query_timeout: timeoutMs + graceMs };
    if (!named) return rowsOf(await connection.query(config));
    try {
      return rowsOf(await connection.query({ ...config, name: statement.name }));
    } catch (error) {
      if (!isPoolersFault(error)) throw error;
      named = false;
      return rowsOf(await connection.query(config));
    }
  }

  return async (statement, values, { signal, timeoutMs }) => {
    checkText(values);
    if (signal.aborted) throw unsent(signal.reason);
    const connection = await checkOut(pool, signal);
    const answer = runAndGiveBack(connection, () => send(connection, statement, [...values], timeoutMs));
    try {
      return await untilAborted(answer, signal, () => unanswered(signal.reason));
    } catch (error) {
      throw toCoordError(error, "sent");
    }
  };
}

/** Statements on the given client, which is never closed nor changed. */
export function runOn(client: PostgresClient, prepare: boolean): Run {
  surviveErrors(client);
  if (isPool(client)) return runOnPool(client, prepare);
  return async (statement, values, { signal }) => {
    checkText(values);
    if (signal.aborted) throw unsent(signal.reason);
    const answer = client.query(statement.text, [...values]);
    try {
      return rowsOf(await untilAborted(answer, signal, () => unanswered(signal.reason)));
    } catch (error) {
      throw toCoordError(error, "sent");
    }
  };
}
