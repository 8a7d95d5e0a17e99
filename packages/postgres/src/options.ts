import { InvalidArgumentError } from "@coord/core";
import { isPool, type PostgresClient } from "./client.ts";
import type { TableOptions } from "./schema.ts";

interface CommonOptions extends TableOptions {
  /**
   * Whether statements are prepared by name on pools. Where a pooler loses them (PgBouncer before 1.21) the first
   * refusal switches it off. @default true
   */
  readonly prepare?: boolean | undefined;
  /**
   * Where releases are listened for: a direct address of the same database, or `false` to poll only. Needed for push
   * behind a transaction pooler, and with pools of fewer than three.
   *
   * @default a client of the pool if its `max` is 3 or more; with `url`, a connection of its own
   */
  readonly listen?: false | { readonly url: string } | undefined;
}

/** A client of yours, which is never closed, or a URL, for which a pool of two is made and closed by `close()`. */
export type PostgresBackendOptions = CommonOptions &
  (
    | { readonly client: PostgresClient; readonly url?: undefined }
    | { readonly url: string; readonly client?: undefined }
  );

/** Shows of a wrong URL what may be shown: never the part that can hold a password. */
function checkUrl(option: string, value: unknown): string {
  const rule = `${option} must be a URL such as postgres://user@host:5432/database`;
  if (typeof value !== "string") throw new InvalidArgumentError(`${rule}, got ${typeof value}`);
  // Not told why: the reason would repeat the URL.
  if (!URL.canParse(value)) throw new InvalidArgumentError(`${rule}, got one that can't be parsed`);
  const { protocol } = new URL(value);
  if (protocol === "postgres:" || protocol === "postgresql:") return value;
  throw new InvalidArgumentError(`${rule}, got one that begins with ${protocol}`);
}

export function checkOptions(options: PostgresBackendOptions): void {
  if (typeof options !== "object" || options === null) {
    throw new InvalidArgumentError("postgresBackend needs `{ client }` or `{ url }`, got no object");
  }
  const { client, url, prepare, listen } = options;
  if ((client === undefined) === (url === undefined)) {
    const got = client === undefined ? "neither" : "both";
    throw new InvalidArgumentError(`postgresBackend needs either \`client\` or \`url\`, got ${got}`);
  }
  if (url !== undefined) checkUrl("url", url);
  if (client !== undefined) {
    const fits = typeof client === "object" && client !== null;
    if (!fits || !(isPool(client) || ("query" in client && typeof client.query === "function"))) {
      throw new InvalidArgumentError(
        `client must be a pg.Pool, a PGlite or an object with query(text, values), got ${typeof client}`,
      );
    }
  }
  if (prepare !== undefined && typeof prepare !== "boolean") {
    throw new InvalidArgumentError(`prepare must be true or false, got ${String(prepare)}`);
  }
  if (listen !== undefined && listen !== false) {
    if (typeof listen !== "object" || listen === null) {
      throw new InvalidArgumentError(`listen must be false or { url }, got ${String(listen)}`);
    }
    checkUrl("listen.url", listen.url);
  }
}
