import { InvalidArgumentError } from "@coord/core";
import type { Backend, Within } from "@coord/core";
import { clientOfPool, clientOfUrl } from "./client.ts";
import type { CallbackConnection, CallbackPool, MysqlConnection, MysqlPool } from "./driver.ts";
import { MAX_PAYLOAD_BYTES } from "./record.ts";
import { createRenew } from "./renew.ts";
import { tablesOf } from "./schema.ts";
import type { SchemaOptions } from "./schema.ts";
import { createRunStep } from "./sessions.ts";
import { statements } from "./statements.ts";
import { createSteps } from "./steps.ts";
import { createUpkeep } from "./upkeep.ts";
import { createWithin } from "./within.ts";

export interface MysqlBackendOptions extends SchemaOptions {
  /** A pool of mysql2, with promises or callbacks. It is neither reconfigured nor closed. */
  client?: MysqlPool | CallbackPool | undefined;
  /** Instead of `client`: `mysql://user:password@host:3306/database`. Opens two connections of its own. */
  url?: string | undefined;
}

export interface MysqlBackend extends Backend {
  /**
   * The steps as statements of a transaction that you began on `connection` and that you end. `verify`
   * locks the lease's record: whoever would take it over waits for your commit.
   */
  within(connection: MysqlConnection | CallbackConnection): Within;
}

/** Leases in MySQL 8.0+ or MariaDB 10.6+. No I/O happens here. Throws `InvalidArgumentError`. */
export function mysqlBackend(options: MysqlBackendOptions): MysqlBackend {
  const { client: pool, url } = options;
  if ((pool === undefined) === (url === undefined)) {
    throw new InvalidArgumentError(
      `mysqlBackend takes either client (a mysql2 pool) or url, got ${pool === undefined ? "neither" : "both"}.`,
    );
  }
  const tables = tablesOf(options);
  const sql = statements(tables);
  const client = pool === undefined ? clientOfUrl(url ?? "") : clientOfPool(pool);
  const run = createRunStep(client);
  return {
    info: {
      name: "mysql",
      minTtlMs: 250,
      granularityMs: 1,
      maxPayloadBytes: MAX_PAYLOAD_BYTES,
      maxRenewBatch: 1000,
      clock: "store",
      prunes: true,
    },
    ...createSteps(run, sql),
    renew: createRenew(run, sql),
    ...createUpkeep(run, sql, tables),
    diagnose: async () => ({ findings: [], clock: { storeMs: 0, beforeMs: 0, afterMs: 0 } }),
    close: () => client.close(),
    within: (connection) => createWithin(sql, connection),
  };
}
