/** Where connections come from: a pool that was passed in, or one that is made from a URL and then ours. */
import { ConfigurationError, InvalidArgumentError, UnavailableError } from "@coord/core";
import { ask, loadDriver, property, rowsOf } from "./driver.ts";
import type { CallbackPool, MysqlConnection, MysqlPool, Settings } from "./driver.ts";
import type { Source } from "./sessions.ts";

export interface Client extends Source {
  /** A connection that belongs to no pool, for named locks; rejects where none can be made. */
  connect(): Promise<MysqlConnection>;
  /** Closes what was opened here. */
  close(): Promise<void>;
}

const OWN_SESSION = [
  "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", // No gap locks: names don't wait for each other.
  "SET SESSION autocommit=1,innodb_lock_wait_timeout=1,sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
];

async function refuseClosed(): Promise<never> {
  throw new UnavailableError("This backend has been closed. Make a new one.", { notDone: true });
}

/** `url`: `mysql://user:password@host:port/database?option=value`, or `mariadb:`. */
export function clientOfUrl(url: string): Client {
  const settings = settingsOfUrl(url);
  let pool: Promise<MysqlPool & { end(): Promise<void> }> | undefined;
  let isClosed = false;
  const open = async (): Promise<MysqlPool & { end(): Promise<void> }> =>
    (await loadDriver()).createPool({ ...settings, connectionLimit: 2, maxIdle: 2 });
  return {
    pool: () => {
      if (isClosed) return refuseClosed();
      pool ??= open();
      pool.catch(() => {
        pool = undefined;
      });
      return pool;
    },
    prepare: async (connection) => {
      for (const sql of OWN_SESSION) await ask(connection, sql);
    },
    connect: async () => (await loadDriver()).createConnection(settings),
    close: async () => {
      isClosed = true;
      const ending = pool;
      pool = undefined;
      // A pool that never came about needs no end.
      await (await ending?.catch(() => undefined))?.end();
    },
  };
}

function settingsOfUrl(url: string): Settings {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !["mysql:", "mariadb:"].includes(parsed.protocol) || parsed.hostname === "") {
    const found = parsed === undefined ? "something that is no URL" : `the scheme ${parsed.protocol}`;
    throw new InvalidArgumentError(
      `url must look like mysql://user:password@host:3306/database (or mariadb:), got ${found}.`,
    );
  }
  if (parsed.pathname.length <= 1) {
    throw new InvalidArgumentError(
      `url must name a database, as in mysql://${parsed.host}/database, got none: that is where the tables are.`,
    );
  }
  return { uri: url.replace(/^mariadb:/, "mysql:"), supportBigNumbers: true, bigNumberStrings: true };
}

const isCallbackPool = (client: MysqlPool | CallbackPool): client is CallbackPool =>
  "promise" in client && typeof client.promise === "function";

export function clientOfPool(client: MysqlPool | CallbackPool): Client {
  const pool = isCallbackPool(client) ? client.promise() : client;
  let isClosed = false;
  return {
    pool: async () => (isClosed ? refuseClosed() : pool),
    prepare: refuseUnfit,
    connect: async () => (await loadDriver()).createConnection(settingsOfPool(client)),
    close: async () => {
      isClosed = true;
    },
  };
}

function refuse(found: string, remedy: string): never {
  throw new ConfigurationError(`The pool's connections have ${found}: ${remedy}`);
}

/** A session that can't be trusted is refused before the first step on it. */
async function refuseUnfit(connection: MysqlConnection): Promise<void> {
  const rows = rowsOf(
    await ask(
      connection,
      "SHOW SESSION VARIABLES WHERE Variable_name IN ('autocommit','sql_mode','tx_isolation','transaction_isolation')",
    ),
  );
  const setting = new Map(rows.map((row) => [String(row["Variable_name"]), String(row["Value"])]));
  const modes = (setting.get("sql_mode") ?? "").split(",");
  const isolation = setting.get("transaction_isolation") ?? setting.get("tx_isolation") ?? "";
  if (setting.get("autocommit") === "OFF")
    refuse("autocommit off", "grants would not be committed; leave it on.");
  for (const mode of ["ORACLE", "SIMULTANEOUS_ASSIGNMENT"]) {
    if (modes.includes(mode)) refuse(`sql_mode ${mode}`, "it changes what the statements mean; remove it.");
  }
  if (isolation === "READ-UNCOMMITTED") {
    refuse("the isolation READ UNCOMMITTED", "answers could be rolled back; use READ COMMITTED.");
  }
}

/** What a connection needs to reach and enter the same server as a pool's. */
const CONNECTING = [
  "host",
  "port",
  "localAddress",
  "socketPath",
  "user",
  "password",
  "password2",
  "password3",
  "passwordSha1",
  "database",
  "connectTimeout",
  "ssl",
  "stream",
  "authPlugins",
  "authSwitchHandler",
  "insecureAuth",
  "enableCleartextPlugin",
  "compress",
];

function settingsOfPool(client: MysqlPool | CallbackPool): Settings {
  const config = property(property(property(client, "pool") ?? client, "config"), "connectionConfig");
  if (config === undefined) {
    throw new ConfigurationError(
      "Named locks need connections outside the pool, and this pool does not show how it connects: give `wake: { connect }`.",
    );
  }
  const entries = CONNECTING.map((name) => [name, property(config, name)] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}
