/** What this package calls on the clients that it is given; `pg` and PGlite fit, and so may others. */

export interface QueryResult {
  readonly rows: readonly unknown[];
  readonly rowCount?: number | null | undefined;
}

/** A statement as `pg` takes it. */
export interface QueryConfig {
  readonly text: string;
  readonly values?: unknown[];
  readonly name?: string;
  /** Milliseconds after which the driver gives up. */
  readonly query_timeout?: number;
}

/** A connection checked out of a pool. */
export interface PooledConnection {
  query(config: QueryConfig): Promise<QueryResult>;
  /** `true` closes the connection instead of giving it back. */
  release(destroy?: boolean): void;
  on(event: string, listener: (...values: unknown[]) => void): unknown;
  removeListener(event: string, listener: (...values: unknown[]) => void): unknown;
}

/** `pg.Pool`, or anything of its shape. */
export interface PostgresPool {
  /** Tells a pool from a single connection. */
  readonly totalCount: number;
  readonly options?: { readonly max?: number | undefined } | undefined;
  connect(): Promise<PooledConnection>;
  on(event: "error", listener: (error: Error) => void): unknown;
}

/** PGlite, a connected `pg.Client`, or anything else that runs one statement at a time. */
export interface PostgresConnection {
  query(text: string, values?: unknown[]): Promise<QueryResult>;
  /** PGlite's. Resolves to a function that ends the subscription. */
  listen?(channel: string, callback: (payload: string) => void): Promise<() => Promise<void>>;
}

export type PostgresClient = PostgresPool | PostgresConnection;

export const isPool = (client: PostgresClient): client is PostgresPool =>
  "totalCount" in client && "connect" in client && typeof client.connect === "function";

export const ignore = (): void => {};

const guarded = new WeakSet<object>();

/**
 * A connection that drops is reported by an `error` event, and Node ends a process where nobody listens. Whoever is
 * affected learns it from a call of their own.
 */
export function surviveErrors(client: PostgresClient): void {
  if (guarded.has(client) || !("on" in client) || typeof client.on !== "function") return;
  guarded.add(client);
  client.on("error", ignore);
}
