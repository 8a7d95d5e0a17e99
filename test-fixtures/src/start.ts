import { type GcsOptions, startNativeGcs } from "./gcs.ts";
import { type MongodbOptions, startContainerMongodb, startNativeMongodb } from "./mongodb.ts";
import { type MysqlOptions, startContainerMysql, startNativeMysql } from "./mysql.ts";
import { type PostgresOptions, startContainerPostgres, startNativePostgres } from "./postgres.ts";
import { type RedisOptions, startContainerRedis, startNativeRedis } from "./redis.ts";
import { FixtureMissing, type Provider, type Server } from "./server.ts";

/** The kinds of server and what each can be asked for. */
export interface Kinds {
  postgres: PostgresOptions;
  mysql: MysqlOptions;
  mongodb: MongodbOptions;
  redis: RedisOptions;
  gcs: GcsOptions;
}

/** How one kind of server is got from each provider. */
interface Recipe<Options> {
  /** Words for what differs from the plain server; they are part of its environment variable. */
  variant?(options: Options): (string | undefined)[];
  /** Throws `FixtureMissing` where this machine cannot. */
  native?(options: Options): Promise<Server>;
  /** Throws `FixtureMissing` where no engine answers or the image cannot be had. */
  containers?(options: Options): Promise<Server>;
}

const recipes: { [K in keyof Kinds]: Recipe<Kinds[K]> } = {
  postgres: {
    variant: ({ version = 18 }) => [version === 18 ? undefined : String(version)],
    native: startNativePostgres,
    containers: startContainerPostgres,
  },
  mysql: {
    variant: ({ flavor }) => [flavor === "mysql" ? undefined : flavor],
    native: startNativeMysql,
    containers: startContainerMysql,
  },
  mongodb: { native: startNativeMongodb, containers: startContainerMongodb },
  redis: {
    variant: ({ flavor, cluster }) => [flavor === "redis" ? undefined : flavor, cluster && "cluster"],
    native: startNativeRedis,
    containers: startContainerRedis,
  },
  gcs: { native: startNativeGcs },
};

const announced = new Set<string>();

/** Tells once a process and kind where the servers come from. */
function announce(text: string): void {
  if (announced.has(text)) return;
  announced.add(text);
  process.stderr.write(`test-fixtures: ${text}\n`);
}

const withoutPassword = (url: string): string => url.replace(/\/\/([^@/]*)@/, "//");

async function startFrom<Options extends object>(
  kind: string,
  recipe: Recipe<Options>,
  options: Options,
): Promise<Server> {
  const title = [kind, ...(recipe.variant?.(options) ?? [])].filter((word) => word !== undefined).join("_");
  const variable = `COORD_TEST_${title.toUpperCase()}_URL`;
  const url = process.env[variable];
  // Settings ask for what a server that somebody else configured cannot promise.
  if (url && !("settings" in options)) {
    announce(`${title} from ${variable} at ${withoutPassword(url)}`);
    return { url, provider: "environment", version: "unknown", capabilities: {}, stop: async () => {} };
  }
  const forced = process.env["COORD_FIXTURES"];
  if (forced && forced !== "native" && forced !== "containers") {
    throw new Error(`COORD_FIXTURES must be native or containers, got ${forced}; unset it to try both`);
  }
  const reasons: string[] = [];
  for (const provider of ["native", "containers"] satisfies Provider[]) {
    const attempt = recipe[provider];
    if (attempt === undefined || (forced && forced !== provider)) continue;
    try {
      const server = await attempt(options);
      announce(`${title} ${server.version} (${provider})`);
      return server;
    } catch (error) {
      if (!(error instanceof FixtureMissing)) throw error;
      reasons.push(`${provider}: ${error.message}`);
    }
  }
  throw new FixtureMissing(
    `no ${title} server to test with: ${reasons.join("; ") || "no provider"}; or set ${variable} to the URL of one`,
  );
}

/**
 * Starts a server for tests, or takes the one that `COORD_TEST_<KIND>_URL` names.
 *
 * @throws {FixtureMissing} when no provider can give one; see `missing` to skip then.
 */
export function start<K extends keyof Kinds>(kind: K, options?: Kinds[K]): Promise<Server> {
  return startFrom(kind, recipes[kind], options ?? {});
}

/**
 * Tells why a kind of server cannot be had here, for `describe.skipIf`; undefined when it can, after any installation
 * it takes, so call it where no hook's time limit runs: `const missing = await whyMissing("mysql")` at the top of a file.
 *
 * @throws {FixtureMissing} instead of telling when `CI` is set: a missing server must fail there.
 */
export async function whyMissing<K extends keyof Kinds>(
  kind: K,
  options?: Kinds[K],
): Promise<string | undefined> {
  try {
    const server = await start(kind, options);
    await server.stop();
    return undefined;
  } catch (error) {
    if (!(error instanceof FixtureMissing) || process.env["CI"]) throw error;
    announce(`skipped: ${error.message}`);
    return error.message;
  }
}
