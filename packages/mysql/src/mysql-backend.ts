import { InvalidArgumentError } from "@coord/core";
import type { Backend, Within } from "@coord/core";
import { clientOfPool, clientOfUrl } from "./client.ts";
import type { CallbackConnection, CallbackPool, MysqlConnection, MysqlPool } from "./driver.ts";
import { createDiagnose } from "./diagnose.ts";
import { MAX_PAYLOAD_BYTES } from "./record.ts";
import { createRenew } from "./renew.ts";
import { tablesOf } from "./schema.ts";
import type { SchemaOptions } from "./schema.ts";
import { createRunStep } from "./sessions.ts";
import { statements } from "./statements.ts";
import { createSteps } from "./steps.ts";
import { LOOK_SECONDS } from "./turnstile.ts";
import { createUpkeep } from "./upkeep.ts";
import { createWake } from "./wake.ts";
import type { Wake, WakeSetup } from "./wake.ts";
import { createWithin } from "./within.ts";

export interface MysqlBackendOptions extends SchemaOptions {
  /** A pool of mysql2, with promises or callbacks. It is neither reconfigured nor closed. */
  client?: MysqlPool | CallbackPool | undefined;
  /** Instead of `client`: `mysql://user:password@host:3306/database`. Opens two connections of its own. */
  url?: string | undefined;
  /**
   * Wake-ups by named locks, on connections of their own; `false` leaves all waiting to polling.
   * @default { maxConnections: 5 }
   */
  wake?: false | WakeOptions | undefined;
}

export interface WakeOptions {
  /**
   * Connections that named locks take at the most, 2 to 1000: one for the leases that this process holds, and
   * one for each name that it waits for. Names beyond that are polled. They open when they are needed.
   * @default 5
   */
  maxConnections?: number | undefined;
  /** Opens a connection that belongs to no pool. @default as the pool connects, or by the URL */
  connect?: (() => Promise<MysqlConnection>) | undefined;
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
  const steps = createSteps(run, sql);
  const wake = wakeOf(options.wake, {
    connect: () => client.connect(),
    lease: tables.lease,
    isFreeSql: sql.isFree,
    watchGateSql: sql.watchGate(LOOK_SECONDS),
    onTurn: steps.expectFree,
  });
  const { gate } = wake ?? {};
  const renew = createRenew(run, sql);
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
    acquire: async (request, callOptions) => {
      const { name, grantId, ttlMs } = request;
      const answer = await steps.acquire(request, callOptions);
      if (answer.outcome === "granted") gate?.held(name, grantId, ttlMs, wake?.isWaitedFor(name) ?? false);
      return answer;
    },
    renew: async (requests, callOptions) => {
      const outcomes = await renew(requests, callOptions);
      for (const [index, { name, grantId, ttlMs }] of requests.entries()) {
        if (outcomes[index] === "renewed") gate?.renewed(name, grantId, ttlMs);
        if (outcomes[index] === "lost") gate?.over(name, grantId);
      }
      return outcomes;
    },
    release: async (request, callOptions) => {
      const answer = await steps.release(request, callOptions);
      gate?.over(request.name, request.grantId);
      return answer;
    },
    inspect: async (name, callOptions) => {
      const record = await steps.inspect(name, callOptions);
      // Released in somebody's transaction, or overruled: what this process learns of it, its waiters learn.
      gate?.stillHeldBy(name, record?.state === "held" ? record.grantId : undefined);
      return record;
    },
    overrule: async (request, callOptions) => {
      const answer = await steps.overrule(request, callOptions);
      if (answer.outcome === "overruled") gate?.over(request.name, undefined);
      return answer;
    },
    ...createUpkeep(run, sql, tables),
    diagnose: createDiagnose(run, tables, wake),
    close: async () => {
      wake?.close();
      await client.close();
    },
    ...(wake !== undefined && { watch: wake.watch }),
    within: (connection) => createWithin(sql, connection),
  };
}

function wakeOf(
  options: false | WakeOptions | undefined,
  setup: Omit<WakeSetup, "maxConnections">,
): Wake | undefined {
  if (options === false) return undefined;
  const { maxConnections = 5, connect = setup.connect } = options ?? {};
  if (!Number.isInteger(maxConnections) || maxConnections < 2 || maxConnections > 1000) {
    throw new InvalidArgumentError(
      `wake.maxConnections must be an integer from 2 to 1000, got ${String(maxConnections)}; wake: false turns wake-ups off.`,
    );
  }
  return createWake({ ...setup, connect, maxConnections });
}
