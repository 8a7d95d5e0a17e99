import type { Backend, CallOptions, RecordView, Within } from "@coord/core";
import { ConfigurationError } from "@coord/core";
import { acquired, isObject, overruled, recordIn, released } from "./answers.ts";
import { bounded, commandLimitMs } from "./call.ts";
import { bson, connect, durable, type Target } from "./connection.ts";
import { diagnose, setUp } from "./diagnose.ts";
import type { Fields, MongoSession } from "./driver.ts";
import { type MongodbOptions, settingsOf } from "./options.ts";
import { renewBatch } from "./renew.ts";
import {
  acquireStatement,
  idOf,
  inspectQuery,
  listPipeline,
  overruleStatement,
  releaseStatement,
  type Statement,
  wakePipeline,
} from "./statements.ts";
import { createWakeUps } from "./wake-ups.ts";
import { within } from "./within.ts";

/** The lease backend in MongoDB, with the steps that can be part of your own transaction. */
export interface MongodbBackend extends Backend {
  /**
   * `verify(lease)` and `release` inside a transaction of yours, on a session of the client that was passed
   * in; the first thing in it, and with the transaction shorter than a third of the ttl: a takeover waits
   * for the commit, and so does this lease's own heartbeat. Needs a replica set or a sharded cluster.
   */
  within(session: MongoSession): Within;
}

/** How long the server holds an answer back when nothing has changed: one command of a waiter's stream. */
const streamWaitMs = 5000;

/** An acquire that took longer may have waited for a lock, with `$$NOW` as it was before. */
const promptMs = 200;

/** A lone server has no majority to read from. */
const levelOf = ({ deployment }: Target, level: "linearizable" | "majority"): Fields => ({
  readPreference: "primary",
  readConcern: { level: deployment === "standalone" ? "local" : level },
});

/**
 * Keeps leases in a MongoDB collection, one document per name. No I/O until the first call.
 *
 * @throws {InvalidArgumentError} when an option breaks its rule.
 */
export function mongodbBackend(given: MongodbOptions): MongodbBackend {
  const settings = settingsOf(given);
  const { clockSkewMs } = settings;
  const connection = connect(settings);
  const wakeUps = createWakeUps(async () => {
    const { collection } = await connection.target();
    return collection.watch(wakePipeline, {
      ...bson,
      readPreference: "primary",
      maxAwaitTimeMS: streamWaitMs,
    });
  });

  /** One call: one command, sent only while its caller waits. */
  function call<T>(
    doing: string,
    options: CallOptions,
    step: (target: Target, limits: Fields) => Promise<T>,
  ) {
    return bounded(doing, options, async (gaveUp) => {
      const target = await connection.target();
      gaveUp.throwIfAborted();
      return step(target, { ...bson, maxTimeMS: commandLimitMs(options.timeoutMs) });
    });
  }

  const write = (
    doing: string,
    { filter, pipeline, options }: Statement,
    callOptions: CallOptions,
  ): Promise<unknown> =>
    call(doing, callOptions, ({ collection }, limits) =>
      collection.findOneAndUpdate(filter, pipeline, { ...limits, ...options, writeConcern: durable }),
    );

  /** Several clocks may decide: the skew between them is added to every lease. */
  const padded = <R extends { readonly ttlMs: number }>(request: R): R => ({
    ...request,
    ttlMs: request.ttlMs + clockSkewMs,
  });

  return {
    info: {
      name: "mongodb",
      granularityMs: 1 + clockSkewMs,
      clock: clockSkewMs === 0 ? "store" : "observed",
      prunes: false,
    },
    async acquire(request, options) {
      const statement = acquireStatement(padded(request));
      const sentMs = performance.now();
      const answer = acquired(await write("acquire", statement, options), request);
      if (answer.outcome === "refused" || performance.now() - sentMs <= promptMs) return answer;
      // The same again finds the name held by this grant and extends it to its full ttl.
      return acquired(await write("acquire", statement, options), request);
    },
    renew: (requests, options) =>
      requests.length === 0
        ? Promise.resolve([])
        : call("renew", options, (target) => renewBatch(target, requests.map(padded), options.timeoutMs)),
    release: async (request, options) =>
      released(await write("release", releaseStatement(request), options), request.name),
    overrule: async (request, options) =>
      overruled(await write("overrule", overruleStatement(request), options), request),
    inspect: (name, options) =>
      call("inspect", options, async (target, limits) => {
        const { filter, projection } = inspectQuery(name);
        const read = { ...limits, ...levelOf(target, "linearizable"), projection };
        return recordIn(await target.collection.findOne(filter, read), name);
      }),
    list: (request, options) =>
      call("list", options, async (target, limits) => {
        const read = { ...limits, ...levelOf(target, "majority") };
        const found = await target.collection.aggregate(listPipeline(request), read).toArray();
        return found.flatMap((document): RecordView[] => {
          const id = isObject(document) ? String(document["_id"]) : "";
          const key = id.slice(request.namespace.length + 1);
          const record = recordIn(document, { namespace: request.namespace, key });
          return record === null ? [] : [record];
        });
      }),
    // The server deletes by itself, through the index of setup().
    prune: () => Promise.resolve(0),
    setup: (options) => bounded("setup", options, async () => setUp(await connection.database(), settings)),
    diagnose: (options) =>
      bounded("diagnose", options, async () => diagnose(await connection.database(), settings)),
    watch: async (name, onWake, options) => {
      const { deployment } = await bounded("watch", options, () => connection.target());
      if (deployment === "standalone") {
        throw new ConfigurationError(
          "mongodb: a standalone server has no change streams; waiters poll instead.",
        );
      }
      if (connection.hasOneConnection()) {
        throw new ConfigurationError(
          "mongodb: the client has maxPoolSize 1, and a change stream would keep that connection; waiters poll instead.",
        );
      }
      return wakeUps.watch(idOf(name), onWake, options);
    },
    within: (session) => within(connection, session),
    async close() {
      await wakeUps.close();
      await connection.close();
    },
  };
}
