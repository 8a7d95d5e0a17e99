import { ConfigurationError, InvalidArgumentError } from "@coord/core";

/**
 * What is used of an ioredis client, `Redis` or `Cluster`, version 5 or 6. A client that is passed in is a
 * template: connections are made from its settings with `duplicate`, it is never sent a command itself.
 */
export interface RedisClient {
  readonly isCluster: boolean;
  readonly status: string;
  readonly options: object;
  /** The nodes in charge of each slot, the master first; on a cluster only. */
  readonly slots?: readonly (readonly string[])[];
  nodes?(role: "master"): RedisClient[];
  /** `(options)`, and on a cluster `(startupNodes, options)`. */
  duplicate(optionsOrNodes?: object, options?: object): RedisClient;
  on(event: "ready" | "end", listener: () => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  connect(): Promise<void>;
  disconnect(reconnect?: boolean): void;
  call(...command: [name: string, ...args: (string | Buffer | number)[]]): Promise<unknown>;
}

/** Where Redis is: one of the two. */
export type ClientOrUrl =
  | {
      /** A `Redis` or `Cluster` of ioredis. Connections with its settings are opened beside it; it is not used itself. */
      client: RedisClient;
      url?: undefined;
    }
  | {
      /** `redis:`, `rediss:` (TLS), `redis+cluster:` or `rediss+cluster:`. Needs the package ioredis. */
      url: string;
      client?: undefined;
    };

/** Where connections come from. */
export interface Source {
  readonly cluster: boolean;
  /** A connection for commands, not yet connected; it reconnects by itself and never resends. */
  forCommands(): Promise<RedisClient>;
  /** A connection for one blocked reader, not yet connected; once closed it stays closed. `node` is a cluster's. */
  forReader(node?: RedisClient): Promise<RedisClient>;
}

/** How long a connection attempt may take, in ms. */
const connectTimeoutMs = 5000;
/** A socket that owes an answer for that long, in ms, is dead: longer than a WAIT within core's 5 s. */
export const silentSocketMs = 4500;

const reconnectDelayMs = (attempt: number): number =>
  Math.min(50 * 2 ** (attempt - 1), 1000) + Math.random() * 100;

/** A demoted master: connect anew, which asks Sentinel or DNS for the new one. 1 = without resending. */
const leaveDemotedMaster = (error: Error): 1 | false => (error.message.startsWith("READONLY") ? 1 : false);

/**
 * Nothing is queued, so a command is on the wire or was not sent; nothing is resent; a command in flight
 * fails when its socket drops (with `maxRetriesPerRequest` of 1 or null it never settles).
 */
const settings = {
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  enableAutoPipelining: false,
  commandTimeout: undefined,
  socketTimeout: undefined,
  blockingTimeout: undefined,
  connectTimeout: connectTimeoutMs,
  enableReadyCheck: true,
  reconnectOnError: leaveDemotedMaster,
  readOnly: false,
  role: "master",
  stringNumbers: false,
  monitor: false,
  protocol: 2,
  replyMapping: "legacy",
  retryStrategy: reconnectDelayMs,
} as const;

const readerSettings = { ...settings, retryStrategy: null, reconnectOnError: null } as const;

/**
 * A cluster client repeats what a node's closed connection left open, unless its delays say otherwise. Its
 * own queue must stay on: it refuses commands to a node that is just connecting.
 */
const clusterSettings = {
  lazyConnect: true,
  enableOfflineQueue: true,
  enableReadyCheck: true,
  enableAutoPipelining: false,
  scaleReads: "master",
  shardedSubscribers: false,
  retryDelayOnFailover: 0,
  retryDelayOnClusterDown: 0,
  clusterRetryStrategy: reconnectDelayMs,
  clusterNodeRetryStrategy: null,
  redisOptions: {
    ...settings,
    enableOfflineQueue: true,
    reconnectOnError: null,
    retryStrategy: null,
    socketTimeout: silentSocketMs,
  },
} as const;

/** From a client that was passed in, as it is now; it is neither closed nor changed. */
function sourceFromClient(client: RedisClient): Source {
  const keyPrefix = "keyPrefix" in client.options ? client.options.keyPrefix : undefined;
  if (keyPrefix) {
    throw new InvalidArgumentError(
      `client must have no keyPrefix, got ${JSON.stringify(keyPrefix)}: scripts build keys that it would not ` +
        "reach, so one name could be granted twice; pass a client without it and use the namespace instead",
    );
  }
  return {
    cluster: client.isCluster,
    forCommands: async () =>
      client.isCluster ? client.duplicate([], clusterSettings) : client.duplicate(settings),
    forReader: async (node) => (node ?? client).duplicate(readerSettings),
  };
}

interface Endpoint {
  readonly cluster: boolean;
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  readonly login: {
    readonly username?: string;
    readonly password?: string;
    readonly db?: number;
    readonly tls?: object;
  };
}

const badUrl = (what: string): InvalidArgumentError =>
  new InvalidArgumentError(
    `url must be redis://[user:password@]host[:port][/db], rediss:// for TLS, or redis+cluster://host:port,host:port: ${what}`,
  );

function decoded(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw badUrl(`the ${what} is not percent-encoded`);
  }
}

function parseNode(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? 6379);
  if (host === undefined || port < 1 || port > 65_535)
    throw badUrl("each host is a name or [IPv6], and :port");
  return { host, port };
}

/** No part of a bad URL goes into the error: it may hold a password in an unexpected place. */
export function parseUrl(url: string): Endpoint {
  const match =
    /^(redis|rediss|redis\+cluster|rediss\+cluster):\/\/(?:([^/]*)@)?([^/?#@]+)(?:\/(\d*))?$/.exec(url);
  if (match === null) throw badUrl("another scheme, a query or a fragment; for other settings pass a client");
  const [, scheme = "", credentials = "", hosts = "", database = ""] = match;
  const cluster = scheme.endsWith("+cluster");
  const nodes = hosts.split(",").map(parseNode);
  if (!cluster && nodes.length > 1) throw badUrl("several hosts need redis+cluster:");
  const db = Number(database);
  if (cluster && db !== 0) throw badUrl("a cluster has no databases");
  const colon = credentials.indexOf(":");
  const username = decoded(colon < 0 ? credentials : credentials.slice(0, colon), "user name");
  const password = colon < 0 ? "" : decoded(credentials.slice(colon + 1), "password");
  return {
    cluster,
    nodes,
    login: {
      ...(username !== "" && { username }),
      ...(password !== "" && { password }),
      ...(db !== 0 && { db }),
      ...(scheme.startsWith("rediss") && { tls: {} }),
    },
  };
}

async function loadDriver(): Promise<Pick<typeof import("ioredis"), "Cluster" | "Redis">> {
  try {
    return await import("ioredis");
  } catch (cause) {
    throw new ConfigurationError("a Redis URL needs the package ioredis: npm install ioredis", { cause });
  }
}

/** From a URL; the driver is loaded when the first connection is made. */
function sourceFromUrl(url: string): Source {
  const { cluster, nodes, login } = parseUrl(url);
  const [first] = nodes;
  return {
    cluster,
    async forCommands() {
      const { Cluster, Redis } = await loadDriver();
      if (!cluster) return new Redis({ ...login, ...first, ...settings });
      const redisOptions = { ...login, ...clusterSettings.redisOptions };
      return new Cluster([...nodes], { ...clusterSettings, redisOptions });
    },
    async forReader(node) {
      if (node !== undefined) return node.duplicate(readerSettings);
      const { Redis } = await loadDriver();
      return new Redis({ ...login, ...first, ...readerSettings });
    },
  };
}

/** Nothing is connected yet. */
export function sourceOf({ client, url }: ClientOrUrl): Source {
  if ((client === undefined) === (url === undefined)) {
    throw new InvalidArgumentError("give either client (of ioredis) or url, not both and not neither");
  }
  return client === undefined ? sourceFromUrl(url) : sourceFromClient(client);
}
