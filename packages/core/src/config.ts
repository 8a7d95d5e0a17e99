import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Coordinator, CoordinatorOptions } from "./api.ts";
import type { Backend } from "./backend.ts";
import { createCoordinator } from "./coordinator.ts";
import { ConfigurationError, InvalidArgumentError } from "./errors.ts";
import { show } from "./json.ts";
import { memoryBackend } from "./memory.ts";
import { checkOptions } from "./validate.ts";

/** What a URL says, and everything of `createCoordinator` that is no object. */
export interface CoordinatorConfig extends Omit<CoordinatorOptions, "backend" | "host"> {
  /** For instance `postgres://user:password@host/database`. @default the environment's COORD_URL */
  url?: string | undefined;
}

/** Makes a backend from a URL; by the scheme, without its colon. */
export type BackendFactories = Readonly<Record<string, (url: string) => Backend | Promise<Backend>>>;

export interface OpenOptions {
  /** Makers by scheme, for an existing pool, an adapter of one's own, or a bundle that must see its imports. */
  backends?: BackendFactories | undefined;
  /** @default process.env */
  env?: Readonly<Record<string, string | undefined>> | undefined;
}

/** Schemes whose package is loaded on demand. */
const known: Readonly<Record<string, { package: string; factory: string }>> = {
  postgres: { package: "@coord/postgres", factory: "postgresBackend" },
  postgresql: { package: "@coord/postgres", factory: "postgresBackend" },
  mysql: { package: "@coord/mysql", factory: "mysqlBackend" },
  mariadb: { package: "@coord/mysql", factory: "mysqlBackend" },
  mongodb: { package: "@coord/mongodb", factory: "mongodbBackend" },
  "mongodb+srv": { package: "@coord/mongodb", factory: "mongodbBackend" },
  gs: { package: "@coord/gcs", factory: "gcsBackend" },
  redis: { package: "@coord/redis-streams", factory: "redisStreamsBackend" },
  rediss: { package: "@coord/redis-streams", factory: "redisStreamsBackend" },
  "rediss+cluster": { package: "@coord/redis-streams", factory: "redisStreamsBackend" },
  "redis+cluster": { package: "@coord/redis-streams", factory: "redisStreamsBackend" },
};

const configKeys = ["url", "namespace", "defaults", "holder", "maxClockOffsetMs", "rememberHeld", "cleanUp"];

/**
 * A coordinator from a URL, an object, or the environment's `COORD_URL` (and `COORD_NAMESPACE`). Throws
 * `ConfigurationError` where nothing is configured: a lost variable must not mean that nothing is excluded,
 * so there is no fall-back to memory.
 */
export async function openCoordinator(
  config: string | CoordinatorConfig = {},
  options: OpenOptions = {},
): Promise<Coordinator> {
  checkOptions(options, ["backends", "env"]);
  const { backends = {}, env = process.env } = options;
  const given = typeof config === "string" ? { url: config } : config;
  checkOptions(given, configKeys, "config");
  const { url = env["COORD_URL"], ...rest } = given;
  if (url === undefined || url === "") {
    throw new ConfigurationError(
      "No store is configured: there is no url, and COORD_URL is not set. Set COORD_URL, for instance to postgres://user:password@host/database, or pass a url. For tests in one process only: memory:",
    );
  }
  if (typeof url !== "string") throw new InvalidArgumentError(`url must be a string, got ${show(url)}.`);
  const namespace = rest.namespace ?? env["COORD_NAMESPACE"];
  const backend = await backendOf(url, backends, env);
  try {
    return createCoordinator({ ...rest, ...(namespace !== undefined && { namespace }), backend });
  } catch (error) {
    await backend.close();
    throw error;
  }
}

async function backendOf(url: string, backends: BackendFactories, env: OpenOptions["env"]): Promise<Backend> {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase();
  if (scheme === undefined) {
    // The text itself may hold a password: it is not shown.
    throw new ConfigurationError(
      "The url has no scheme. It must begin with one such as postgres:, mysql:, mongodb:, redis:, gs: or memory:",
    );
  }
  const registered = Object.hasOwn(backends, scheme) ? backends[scheme] : undefined;
  if (registered !== undefined) return registered(url);
  if (scheme === "memory") {
    if (env?.["NODE_ENV"] === "production") {
      process.emitWarning(
        "coord runs on memory: in production. It excludes nobody outside this process and forgets all at its end.",
        "CoordWarning",
      );
    }
    return memoryBackend();
  }
  const adapter = Object.hasOwn(known, scheme) ? known[scheme] : undefined;
  if (adapter === undefined) {
    const schemes = [...Object.keys(known), "memory", ...Object.keys(backends)].join(", ");
    throw new ConfigurationError(
      `No backend is known for the scheme "${scheme}:". Known: ${schemes}. Register others with openCoordinator(config, { backends: { "${scheme}": (url) => … } }).`,
    );
  }
  const factory: unknown = (await load(adapter.package, scheme))[adapter.factory];
  if (typeof factory !== "function") {
    throw new ConfigurationError(
      `${adapter.package} does not export ${adapter.factory}: its version does not fit this @coord/core. Install the same version of both.`,
    );
  }
  return factory({ url });
}

/** Resolved as the program would, since a strict node_modules does not show its packages to core. */
function addressOf(name: string): string {
  for (const from of [process.argv[1], join(process.cwd(), "index.js")]) {
    if (from === undefined) continue;
    try {
      return pathToFileURL(createRequire(from).resolve(name)).href;
    } catch {
      // Not to be had from there: the next place, at last beside core itself.
    }
  }
  return name;
}

async function load(name: string, scheme: string): Promise<Record<string, unknown>> {
  try {
    return await import(addressOf(name));
  } catch (cause) {
    throw new ConfigurationError(
      `"${scheme}:" needs the package ${name}, which could not be loaded. Install it (npm install ${name}), or in a bundle register it: openCoordinator(config, { backends: { "${scheme}": (url) => … } }).`,
      { cause },
    );
  }
}
