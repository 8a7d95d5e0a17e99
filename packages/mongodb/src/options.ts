import { InvalidArgumentError } from "@coord/core";
import type { MongoClientLike, MongoDatabase } from "./driver.ts";

/** Where the records are: exactly one of `client`, `db` and `url`. */
export interface MongodbOptions {
  /** Your `MongoClient` (driver 6 or 7); never closed and never reconfigured by this backend. */
  readonly client?: MongoClientLike | undefined;
  /** A database of your client; then `database` is left out. */
  readonly db?: MongoDatabase | undefined;
  /** `mongodb:` or `mongodb+srv:`; the backend then has a client of its own, closed by `close()`. */
  readonly url?: string | undefined;
  /** Name of the database. @default the one in the client's URL */
  readonly database?: string | undefined;
  /** Name of the collection. @default "coord_leases" */
  readonly collection?: string | undefined;
  /**
   * By how many milliseconds the clocks of the servers that may decide can differ, 0 to 60000: each lease
   * is lengthened by it. A sharded cluster, whose routers decide, needs it.
   *
   * @default 0
   */
  readonly clockSkewMs?: number | undefined;
}

type Source =
  | { readonly kind: "client"; readonly client: MongoClientLike }
  | { readonly kind: "db"; readonly db: MongoDatabase }
  | { readonly kind: "url"; readonly url: string };

export interface Settings {
  readonly source: Source;
  readonly database: string | undefined;
  readonly collection: string;
  readonly clockSkewMs: number;
}

const shown = (value: unknown): string =>
  typeof value === "string" ? JSON.stringify(value.slice(0, 60)) : String(value).slice(0, 60);

function invalid(rule: string, found: string): InvalidArgumentError {
  return new InvalidArgumentError(`mongodbBackend: ${rule}, got ${found}.`);
}

function has(value: unknown, method: string): boolean {
  return typeof value === "object" && value !== null && typeof Reflect.get(value, method) === "function";
}

function sourceOf({ client, db, url }: MongodbOptions): Source {
  const given = Object.entries({ client, db, url }).filter(([, value]) => value !== undefined);
  if (given.length !== 1) {
    const names = given.map(([name]) => name).join(" and ") || "none";
    throw invalid("give exactly one of client (a MongoClient), db (a Db) and url", names);
  }
  if (client !== undefined) {
    if (!has(client, "db"))
      throw invalid("client must be a MongoClient of the driver mongodb", typeof client);
    return { kind: "client", client };
  }
  if (db !== undefined) {
    if (!has(db, "collection")) throw invalid("db must be a Db of the driver mongodb", typeof db);
    return { kind: "db", db };
  }
  // A URL carries a password: only its scheme is shown.
  const scheme = typeof url === "string" ? /^[a-z+]{1,20}:/i.exec(url)?.[0] : undefined;
  if (typeof url !== "string" || !/^mongodb(\+srv)?:\/\/[^/]/.test(url)) {
    throw invalid("url must start with mongodb://host or mongodb+srv://host", scheme ?? typeof url);
  }
  return { kind: "url", url };
}

/** Checks the options; no I/O. */
export function settingsOf(options: MongodbOptions): Settings {
  if (typeof options !== "object" || options === null) {
    throw invalid("options must be an object with client, db or url", String(options));
  }
  const { database, collection = "coord_leases", clockSkewMs = 0 } = options;
  const source = sourceOf(options);
  if (database !== undefined) {
    if (source.kind === "db") throw invalid("leave database out when db is given", shown(database));
    if (typeof database !== "string" || !/^[^/\\. "$*<>:|?\0]{1,63}$/.test(database)) {
      throw invalid(
        'database must be 1 to 63 characters without / \\ . " $ * < > : | ? and space',
        shown(database),
      );
    }
  }
  if (typeof collection !== "string" || !/^(?!system\.)[A-Za-z_][A-Za-z0-9_.-]{0,119}$/.test(collection)) {
    throw invalid(
      "collection must be 1 to 120 letters, digits and _ . - and not start with system.",
      shown(collection),
    );
  }
  if (!Number.isInteger(clockSkewMs) || clockSkewMs < 0 || clockSkewMs > 60_000) {
    throw invalid("clockSkewMs must be an integer from 0 to 60000", shown(clockSkewMs));
  }
  return { source, database, collection, clockSkewMs };
}
