import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ConfigurationError } from "@coord/core";
import type { Backend } from "@coord/core";

type Core = Pick<typeof import("@coord/core"), "openCoordinator">;

interface Adapter {
  readonly package: string;
  readonly factory: string;
}

const postgres: Adapter = { package: "@coord/postgres", factory: "postgresBackend" };
const mysql: Adapter = { package: "@coord/mysql", factory: "mysqlBackend" };
const mongodb: Adapter = { package: "@coord/mongodb", factory: "mongodbBackend" };
const gcs: Adapter = { package: "@coord/gcs", factory: "gcsBackend" };
const redis: Adapter = { package: "@coord/redis-streams", factory: "redisStreamsBackend" };

/** The schemes that core knows; a test compares the two. */
export const adapters: Readonly<Record<string, Adapter>> = {
  postgres,
  postgresql: postgres,
  mysql,
  mariadb: mysql,
  mongodb,
  "mongodb+srv": mongodb,
  gs: gcs,
  redis,
  rediss: redis,
  "redis+cluster": redis,
  "rediss+cluster": redis,
};

/** Where a package is: as a program in the working directory finds it, then beside this command. */
function locate(name: string): string | undefined {
  for (const from of [join(process.cwd(), "index.js"), fileURLToPath(import.meta.url)]) {
    try {
      return createRequire(from).resolve(name);
    } catch {
      // Not to be had from there: the next place.
    }
  }
  return undefined;
}

async function load(path: string): Promise<Record<string, unknown>> {
  const module: Record<string, unknown> = await import(pathToFileURL(path).href);
  return module;
}

/** What a package of an adapter exports; throws `ConfigurationError` with what to install. */
export async function loadAdapter(name: string, wantedBy: string): Promise<Record<string, unknown>> {
  const path = locate(name);
  const remedy = `Install it where you run coord (npm install ${name}), or beside coord itself.`;
  if (path === undefined)
    throw new ConfigurationError(`${wantedBy} needs the package ${name}, which was not found. ${remedy}`);
  try {
    return await load(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new ConfigurationError(
      `${wantedBy} needs the package ${name}, which could not be loaded: ${why}. ${remedy}`,
      { cause },
    );
  }
}

const isCore = (module: Record<string, unknown>): module is Core & Record<string, unknown> =>
  typeof module["openCoordinator"] === "function";

/**
 * The core that the adapter itself uses, so that both know each other's errors: the adapter may be that of
 * the working directory and this command installed for the whole machine.
 */
export async function coreBeside(adapter: string): Promise<Core> {
  const path = locate(adapter);
  const beside = path === undefined ? undefined : createRequire(path).resolve("@coord/core");
  const core: Record<string, unknown> =
    beside === undefined ? { ...(await import("@coord/core")) } : await load(beside);
  if (isCore(core)) return core;
  throw new ConfigurationError(
    `The @coord/core beside ${adapter} is too old for this command: it has no openCoordinator. Install the same version of both.`,
  );
}

/** Makes a backend with an adapter that was found. */
export function makerOf(adapter: Adapter, scheme: string): (url: string) => Promise<Backend> {
  return async (url) => {
    const make = (await loadAdapter(adapter.package, `"${scheme}:"`))[adapter.factory];
    if (!isMaker(make)) {
      throw new ConfigurationError(
        `${adapter.package} does not export ${adapter.factory}: its version does not fit this command. Install the same version of both.`,
      );
    }
    return make({ url });
  };
}

const isMaker = (value: unknown): value is (options: { url: string }) => Backend =>
  typeof value === "function";
