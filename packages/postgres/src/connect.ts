import { ignore, isPool, type PostgresClient, type PostgresPool } from "./client.ts";
import { type Run, runOn } from "./database.ts";
import { createHub, type Hub } from "./hub.ts";
import { earOfPglite, earOfPool, earOfUrl } from "./notifications.ts";
import type { PostgresBackendOptions } from "./options.ts";
import { loadPg } from "./driver.ts";
import { toCoordError } from "./errors.ts";
import { named } from "./statements.ts";

/** What a backend works with, and the end of what it opened itself. */
export interface Connected {
  readonly run: Run;
  /** Absent where nothing can be listened to: waiters poll. */
  readonly hub: Hub | undefined;
  readonly close: () => Promise<void>;
}

const notifyLimitMs = 5000;
/** Below this, one client that only listens could leave none for a transaction and its lease's renewal. */
const leastPoolToListen = 3;

const notifyBy =
  (run: Run) =>
  async (channel: string, message: string): Promise<void> => {
    const statement = named("notify", "SELECT pg_notify($1, $2)");
    await run(statement, [channel, message], {
      signal: AbortSignal.timeout(notifyLimitMs),
      timeoutMs: notifyLimitMs,
    });
  };

interface Shared {
  readonly hub: Hub;
  users: number;
}

/** One listening client a pool, however many backends use the pool. */
const sharedHubs = new WeakMap<PostgresPool, Shared>();

function joinHub(pool: PostgresPool, run: Run): { hub: Hub; leave: () => Promise<void> } {
  const shared = sharedHubs.get(pool) ?? { hub: createHub(earOfPool(pool), notifyBy(run)), users: 0 };
  sharedHubs.set(pool, shared);
  shared.users++;
  let isIn = true;
  const leave = async (): Promise<void> => {
    if (!isIn) return;
    isIn = false;
    if (--shared.users > 0) return;
    sharedHubs.delete(pool);
    await shared.hub.close();
  };
  return { hub: shared.hub, leave };
}

/** A pool that is made when the first statement needs it. */
function lazyPool(url: string): { run: Run; close: () => Promise<void> } {
  let pool: Promise<{ readonly run: Run; end(): Promise<void> }> | undefined;
  let isClosed = false;
  const make = async () => {
    const { default: pg } = await loadPg();
    const made = new pg.Pool({
      connectionString: url,
      max: 2,
      connectionTimeoutMillis: 5000,
      idleTimeoutMillis: 30_000,
      keepAlive: true,
      allowExitOnIdle: true,
      application_name: "coord",
    });
    return { run: runOn(made, true), end: () => made.end() };
  };
  return {
    run: async (statement, values, options) => {
      if (isClosed) throw toCoordError(new Error("the backend was closed"), "connecting");
      pool ??= make();
      return (await pool).run(statement, values, options);
    },
    close: async () => {
      if (isClosed) return;
      isClosed = true;
      const made = await pool?.catch(ignore);
      await made?.end();
    },
  };
}

function connectClient(client: PostgresClient, options: PostgresBackendOptions): Connected {
  const { prepare = true, listen } = options;
  const run = runOn(client, prepare);
  const nothing = { run, hub: undefined, close: async () => {} };
  if (listen === false) return nothing;
  if (listen !== undefined) {
    const hub = createHub(earOfUrl(listen.url, loadPg), notifyBy(run));
    return { run, hub, close: hub.close };
  }
  if (isPool(client)) {
    if ((client.options?.max ?? 0) < leastPoolToListen) return nothing;
    const { hub, leave } = joinHub(client, run);
    return { run, hub, close: leave };
  }
  if (client.listen === undefined) return nothing;
  const hub = createHub(earOfPglite(client.listen.bind(client)), notifyBy(run));
  return { run, hub, close: hub.close };
}

/** Opens nothing yet. */
export function connect(options: PostgresBackendOptions): Connected {
  if (options.client !== undefined) return connectClient(options.client, options);
  const { url, listen } = options;
  const pool = lazyPool(url);
  if (listen === false) return { run: pool.run, hub: undefined, close: pool.close };
  const hub = createHub(earOfUrl(listen?.url ?? url, loadPg), notifyBy(pool.run));
  const close = async (): Promise<void> => {
    await hub.close();
    await pool.close();
  };
  return { run: pool.run, hub, close };
}
