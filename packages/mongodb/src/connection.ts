import { ConfigurationError, InvalidArgumentError, isCoordError, UnavailableError } from "@coord/core";
import { isObject } from "./answers.ts";
import { bounded } from "./call.ts";
import type { MongoClientLike, MongoCollection, MongoDatabase } from "./driver.ts";
import { codeOf, mapError } from "./errors.ts";
import type { Settings } from "./options.ts";

export type Deployment = "replica set" | "sharded cluster" | "standalone";

/** The collection, once it is known that it can hold the records and what kind of server keeps it. */
export interface Target {
  readonly database: MongoDatabase;
  readonly collection: MongoCollection;
  readonly deployment: Deployment;
}

export interface Connection {
  /** Connects without looking at the collection: for `setup` and `diagnose`. */
  database(): Promise<MongoDatabase>;
  /** Throws `ConfigurationError` where the records can't be kept; looks once, and again after a failure. */
  target(): Promise<Target>;
  /** Whether the client has one connection only, which a change stream would keep from all else. */
  hasOneConnection(): boolean;
  close(): Promise<void>;
}

/** Values come out as they are, whatever the client's own settings. */
export const bson = {
  promoteValues: true,
  promoteLongs: true,
  useBigInt64: true,
  raw: false,
  ignoreUndefined: false,
};

/** Regardless of the URL: an acknowledged grant survives a failover, and a crash of a lone server. */
export const durable = { w: "majority", journal: true };

const probeLimitMs = 5000;
/** MongoDB 4.4, the first with expressions in the projection of findAndModify. */
const oldestWireVersion = 9;

/** Two connections for the steps and one that a change stream keeps busy. */
const ownClientOptions = {
  maxPoolSize: 3,
  retryWrites: false,
  retryReads: false,
  serverSelectionTimeoutMS: 2000,
  connectTimeoutMS: 5000,
  waitQueueTimeoutMS: 5000,
  socketTimeoutMS: 15_000,
};

interface OwnClient extends MongoClientLike {
  close(): Promise<void>;
}

async function openClient(url: string): Promise<OwnClient> {
  const driver = await import("mongodb").catch((cause: unknown) => {
    throw new ConfigurationError("mongodb: the driver is not installed. Run: npm install mongodb", { cause });
  });
  try {
    const client = new driver.MongoClient(url, ownClientOptions);
    client.on("error", () => {}); // Told by the call that fails.
    return client;
  } catch (error) {
    // Without the cause: its text may quote the URL with its password.
    const name = error instanceof Error ? error.name : "error";
    throw new InvalidArgumentError(
      `mongodb: the driver refuses the url (${name}). Check its form and options.`,
    );
  }
}

const isClosedTopology = (error: unknown): boolean =>
  error instanceof Error && error.name === "MongoTopologyClosedError";

export async function hello(database: MongoDatabase): Promise<Record<string, unknown>> {
  const answer = await database.command({ hello: 1 }, { readPreference: "primary" });
  return isObject(answer) ? answer : {};
}

export function deploymentOf(answer: Record<string, unknown>): Deployment {
  if (answer["msg"] === "isdbgrid") return "sharded cluster";
  return typeof answer["setName"] === "string" ? "replica set" : "standalone";
}

/** Why the server can't be used with these settings; undefined if it can. */
export function refusedServer(answer: Record<string, unknown>, settings: Settings): string | undefined {
  const wireVersion = Number(answer["maxWireVersion"]);
  if (!(wireVersion >= oldestWireVersion)) {
    return `the server is too old (wire version ${wireVersion}): MongoDB 4.4 or newer is needed`;
  }
  if (deploymentOf(answer) === "sharded cluster" && settings.clockSkewMs === 0) {
    return "on a sharded cluster each router decides by its own clock: set clockSkewMs to what they can differ by, such as 1000";
  }
  return undefined;
}

/** Why the collection can't hold records; undefined if it can, or if it is not there. */
export function refusedCollection(info: unknown, name: string): string | undefined {
  if (!isObject(info)) return undefined;
  const options = isObject(info["options"]) ? info["options"] : {};
  const remedy = "choose another collection name, or drop it and call setup()";
  const type = info["type"];
  if (typeof type === "string" && type !== "collection") return `${name} is a ${type}: ${remedy}`;
  if (options["collation"] !== undefined)
    return `${name} has a collation, which would take different keys for one: ${remedy}`;
  if (options["capped"] === true) return `${name} is capped, it would drop held leases: ${remedy}`;
  return undefined;
}

/** What the server says of the collection; `undefined` = it is not there, `null` = this user may not ask. */
export async function describeCollection(database: MongoDatabase, name: string): Promise<unknown> {
  try {
    const found = await database.listCollections({ name }, { ...bson, nameOnly: false }).toArray();
    return found[0];
  } catch (error) {
    if (codeOf(error) === 13) return null;
    throw error;
  }
}

export function connect(settings: Settings): Connection {
  const { source, collection: name } = settings;
  let own: Promise<OwnClient> | undefined;
  let found: Promise<Target> | undefined;
  let closed = false;

  async function opened(): Promise<{ client: MongoClientLike | undefined; db: MongoDatabase }> {
    if (source.kind === "db") return { client: source.db.client, db: source.db };
    const client = source.kind === "client" ? source.client : await (own ??= openClient(source.url));
    return { client, db: client.db(settings.database) };
  }

  /** The database, and what its server says of itself. */
  async function reach(): Promise<{ db: MongoDatabase; answer: Record<string, unknown> }> {
    if (closed)
      throw new UnavailableError("mongodb: this backend has been closed. Make a new one.", { notDone: true });
    const { client, db } = await opened();
    try {
      return { db, answer: await hello(db) };
    } catch (error) {
      // A client whose first connection failed fails for ever, until it is told to connect again.
      if (!isClosedTopology(error) || client?.connect === undefined) throw error;
      await client.connect();
      return { db, answer: await hello(db) };
    }
  }

  async function look(): Promise<Target> {
    const { db, answer } = await reach();
    const info = await describeCollection(db, name);
    const refused = refusedServer(answer, settings) ?? refusedCollection(info, name);
    if (refused !== undefined) throw new ConfigurationError(`mongodb: ${refused}.`);
    if (info === undefined) {
      throw new ConfigurationError(
        `mongodb: there is no collection ${name} in database ${db.databaseName}. Call \`await coord.setup()\` once.`,
        { code: "COORD_NOT_SET_UP" },
      );
    }
    return { database: db, collection: db.collection(name), deployment: deploymentOf(answer) };
  }

  /** One look for all who wait; the limit keeps a look that hangs from holding up those who come later. */
  function lookOnce(): Promise<Target> {
    const signal = new AbortController().signal;
    const looking = bounded("connecting", { signal, timeoutMs: probeLimitMs }, look);
    looking.catch(() => {
      if (found === looking) found = undefined;
    });
    return looking;
  }

  return {
    database: async () => (await reach()).db,
    async target() {
      found ??= lookOnce();
      try {
        return await found;
      } catch (error) {
        if (!isCoordError(error, "COORD_UNAVAILABLE")) throw error;
        throw new UnavailableError(error.message, { cause: error, notDone: true });
      }
    },
    hasOneConnection() {
      const client =
        source.kind === "db" ? source.db.client : source.kind === "client" ? source.client : undefined;
      return client?.options?.maxPoolSize === 1;
    },
    async close() {
      closed = true;
      found = undefined;
      const client = await own?.catch(() => undefined);
      await client?.close().catch((error: unknown) => {
        throw mapError(error, "closing the client");
      });
    },
  };
}
