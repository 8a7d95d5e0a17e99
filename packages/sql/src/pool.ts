/** The pools that this package takes connections from: `pg.Pool`, `mysql2`'s in both styles, or of their shape. */
import { InvalidArgumentError, UnavailableError } from "@coord/core";
import { unreachable } from "./failures.ts";
import { type Limit, LimitReached } from "./limit.ts";
import type { Dialect, Statement } from "./types.ts";

/** `pg.Pool`. */
export interface PgPool {
  readonly totalCount: number;
  connect(): Promise<PgClient>;
  on(event: "error", listener: (error: Error) => void): unknown;
}

/** A client of `pg.Pool`. */
export interface PgClient {
  query(config: {
    readonly text: string;
    readonly values: unknown[];
    readonly queryMode?: "extended";
  }): Promise<unknown>;
  query(text: string): Promise<unknown>;
  release(destroy?: boolean): void;
  on(event: "error", listener: (error: Error) => void): unknown;
  removeListener(event: "error", listener: (error: Error) => void): unknown;
}

/** The pool of `mysql2/promise`. */
export interface MysqlPool {
  getConnection(): Promise<MysqlConnection>;
}

/** A connection of `mysql2/promise`. */
export interface MysqlConnection {
  query(text: string): Promise<unknown>;
  // mysql2's own type of values names no bigint, though it takes them.
  execute(text: string, values: never): Promise<unknown>;
  release(): void;
  destroy(): void;
}

/** The pool of `mysql2` with callbacks; its promises are used. */
export interface MysqlCallbackPool {
  promise(): MysqlPool;
}

export type SqlPool = PgPool | MysqlPool | MysqlCallbackPool;

/** A connection that was taken out of a pool and is nobody else's. */
export interface Connection {
  readonly dialect: Dialect;
  /** Sends a statement with its values as parameters, never as a part of its text. */
  send(statement: Pick<Statement, "text" | "values">): Promise<unknown>;
  /** Sends a text of this package's own; several statements where the dialect is PostgreSQL's. */
  control(text: string): Promise<unknown>;
  /** Called at once when the connection breaks. */
  onBreak(listener: () => void): void;
  /** The number that the server gave this connection at its start, unless a pooler stands between. */
  readonly serverId: number | undefined;
  /** Stays the same for each loan of this connection. */
  readonly identity: object;
  /** Gives it back, in the state in which it came. */
  release(): void;
  /** Hangs up; the server undoes what is open on it. */
  destroy(): void;
}

const property = (target: unknown, name: string): unknown =>
  typeof target === "object" && target !== null ? Reflect.get(target, name) : undefined;

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

const numberOr = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

const isCallbackPool = (pool: SqlPool): pool is MysqlCallbackPool =>
  "promise" in pool && typeof pool.promise === "function";
const isMysqlPool = (pool: SqlPool): pool is MysqlPool =>
  "getConnection" in pool && typeof pool.getConnection === "function" && !isCallbackPool(pool);
const isPgPool = (pool: SqlPool): pool is PgPool =>
  "connect" in pool && typeof pool.connect === "function" && "totalCount" in pool;

/** @throws {InvalidArgumentError} where it is no pool of a driver that is known. */
export function dialectOf(pool: SqlPool): Dialect {
  if (isObject(pool)) {
    if (isCallbackPool(pool) || isMysqlPool(pool)) return "mysql";
    if (isPgPool(pool)) return "postgres";
  }
  throw new InvalidArgumentError(
    "pool must be a pg.Pool or a pool of mysql2, got something else. For a transaction of a query builder or ORM, or a single connection, use sessionIn.",
  );
}

/** The same object for the pool of promises and the one with callbacks that it wraps. */
export function identityOf(pool: SqlPool): object {
  const inner = isMysqlPool(pool) ? property(pool, "pool") : undefined;
  return isObject(inner) ? inner : pool;
}

/** How many connections the pool may have; `undefined` where it does not tell. */
export function sizeOf(pool: SqlPool): number | undefined {
  if (isPgPool(pool)) return numberOr(property(property(pool, "options"), "max"));
  return numberOr(property(property(identityOf(pool), "config"), "connectionLimit"));
}

/** Ends the socket itself: a goodbye would wait for a server that may not answer. */
function cutSocket(socket: unknown): void {
  const destroy = property(socket, "destroy");
  if (typeof destroy === "function") Reflect.apply(destroy, socket, []);
}

function pgConnection(client: PgClient): Connection {
  const listeners: (() => void)[] = [];
  const onError = (): void => {
    for (const listener of listeners) listener();
  };
  client.on("error", onError);
  return {
    dialect: "postgres",
    send: ({ text, values }) => client.query({ text, values, queryMode: "extended" }),
    control: (text) => client.query(text),
    onBreak: (listener) => listeners.push(listener),
    serverId: numberOr(property(client, "processID")),
    identity: client,
    release: () => {
      client.removeListener("error", onError);
      client.release();
    },
    destroy: () => {
      // The listener stays: the end of a broken connection may be told late.
      client.release(true);
      cutSocket(property(property(client, "connection"), "stream"));
    },
  };
}

function mysqlConnection(connection: MysqlConnection): Connection {
  const inner = property(connection, "connection");
  const emitter = isObject(inner) ? inner : connection;
  const listeners: (() => void)[] = [];
  const onEnd = (): void => {
    for (const listener of listeners) listener();
  };
  const listen = (verb: "on" | "removeListener"): void => {
    const method = property(emitter, verb);
    if (typeof method !== "function") return;
    for (const event of ["error", "end"]) Reflect.apply(method, emitter, [event, onEnd]);
  };
  listen("on");
  return {
    dialect: "mysql",
    // The server's own parameters: escaping in the client depends on the session's sql_mode and character set.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- mysql2's type of values names no bigint
    send: ({ text, values }) => connection.execute(text, values as never),
    control: (text) => connection.query(text),
    onBreak: (listener) => listeners.push(listener),
    serverId: numberOr(property(emitter, "threadId")),
    identity: emitter,
    release: () => {
      listen("removeListener");
      connection.release();
    },
    destroy: () => connection.destroy(),
  };
}

const notHad = (limit: LimitReached): unknown =>
  limit.abort === undefined
    ? new UnavailableError(
        `No connection of the pool was free before ${limit.message}; nothing was done. Look for transactions that last too long, or give the pool more connections.`,
        { cause: limit, notDone: true },
      )
    : limit.abort.reason;

const guarded = new WeakSet<object>();

/** `pg` tells of an idle connection that broke by an event, and Node ends a process where nobody listens. */
function surviveErrors(pool: SqlPool): void {
  if (!isPgPool(pool) || guarded.has(pool)) return;
  guarded.add(pool);
  pool.on("error", () => {});
}

/** Takes a connection out of the pool; one that comes too late goes back unused. */
export async function checkOut(pool: SqlPool, limit: Limit): Promise<Connection> {
  surviveErrors(pool);
  const taking = isPgPool(pool)
    ? pool.connect().then(pgConnection)
    : (isCallbackPool(pool) ? pool.promise() : pool).getConnection().then(mysqlConnection);
  try {
    return await limit.race(taking);
  } catch (error) {
    if (!(error instanceof LimitReached)) throw unreachable(error);
    taking.then(
      (connection) => connection.release(),
      () => {},
    );
    throw notHad(error);
  }
}
