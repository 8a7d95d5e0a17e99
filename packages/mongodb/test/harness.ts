/** What the conformance suite needs to know of this backend, on a server of the fixtures. */
import { join } from "node:path";
import { cases, forkHolder, type Harness, type Misconfigured, type Opened } from "@coord/conformance";
import type { Name } from "@coord/core";
import { type Server, startProxy } from "@coord/test-fixtures";
import { type Db, MongoClient } from "mongodb";
import { type MongoDatabase, mongodbBackend } from "../src/index.ts";
import { freshNamespace, within } from "./calls.ts";
import type { LeaseDocument } from "./model.ts";

const idOf = ({ namespace, key }: Name): string => `${namespace}:${key}`;

/** The server's own commands for its driver, which a fault on the next write must let pass. */
const isWrite = (chunk: Buffer): boolean =>
  chunk.includes("findAndModify") || chunk.includes("\u0002update\0");

/** Keeps the driver at this address, where a replica set would send it to its members'. */
export function directUrl(url: string): string {
  const direct = new URL(url);
  direct.searchParams.delete("replicaSet");
  direct.searchParams.set("directConnection", "true");
  return direct.href;
}

export interface Changed {
  /** Stands between both backends and their database. */
  readonly change?: ((db: Db) => MongoDatabase) | undefined;
}

export function mongodbHarness(server: Server, client: MongoClient, { change }: Changed = {}): Harness {
  const replicaSet = server.capabilities["replicaSet"] === true;
  const leases = client.db().collection<LeaseDocument>("coord_leases", { useBigInt64: true });
  const needsReplicaSet = cases.flatMap(({ id, requires }): [string, string][] =>
    !replicaSet && requires.some((needed) => needed === "watch" || needed === "lockRecord")
      ? [[id, "needs a replica set"]]
      : [],
  );

  async function misconfigured(): Promise<Misconfigured[]> {
    const made = (db: Db, title: string): Misconfigured => {
      const backend = mongodbBackend({ db });
      const close = async (): Promise<void> => {
        await backend.close();
        await db.dropDatabase();
      };
      return { title, backend, close };
    };
    const late = client.db(freshNamespace());
    await late
      .collection("coord_leases")
      .createIndex({ purgeAt: 1 }, { name: "coord_purge", expireAfterSeconds: 60 });
    const found = [made(late, "an index that keeps records a minute longer")];
    if (replicaSet) {
      const folding = client.db(freshNamespace());
      await folding.createCollection("coord_leases", { collation: { locale: "en", strength: 1 } });
      found.push(made(folding, "a collation that takes two keys for one"));
    }
    return found;
  }

  async function open(): Promise<Opened> {
    const namespace = freshNamespace();
    const proxy = await startProxy(server.url);
    const proxied = directUrl(proxy.url);
    const own =
      change === undefined ? undefined : new MongoClient(proxied, { maxPoolSize: 3, retryWrites: false });
    const backend = mongodbBackend(
      own === undefined || change === undefined ? { url: proxied } : { db: change(own.db()) },
    );
    const closing: (() => Promise<unknown>)[] = [() => backend.close(), async () => await own?.close()];
    await backend.setup(within());
    return {
      backend,
      namespace,
      async second() {
        const second = mongodbBackend(
          change === undefined ? { url: server.url } : { db: change(client.db()) },
        );
        closing.push(() => second.close());
        return second;
      },
      async close() {
        for (const end of closing.toReversed()) await end();
        await proxy.stop();
        await leases.deleteMany({ _id: { $gte: `${namespace}:`, $lt: `${namespace};` } });
      },
      swallowNextReply: () => void proxy.swallowReply({ match: isWrite }),
      killConnections: async () => proxy.cut(),
      async cut() {
        await proxy.refuse();
        return () => proxy.heal();
      },
      ...(server.faults !== undefined && {
        async pause() {
          await server.faults?.pause();
          return async () => await server.faults?.resume();
        },
        restart: server.faults.restart,
      }),
      async writeFence(name, fence) {
        await leases.updateOne({ _id: idOf(name) }, { $set: { fence } });
      },
      async deleteRecord(name) {
        await leases.deleteOne({ _id: idOf(name) });
      },
      ...(replicaSet && {
        async lockRecord(name: Name) {
          const session = client.startSession();
          session.startTransaction();
          await leases.updateOne({ _id: idOf(name) }, { $set: { guard: 1 } }, { session });
          return async () => {
            await session.abortTransaction();
            await session.endSession();
          };
        },
      }),
      footprint: () => leases.countDocuments({ _id: { $gte: `${namespace}:`, $lt: `${namespace};` } }),
      async bare() {
        const db = client.db(freshNamespace());
        closing.push(() => db.dropDatabase());
        return mongodbBackend({ db });
      },
      misconfigured,
      spawnHolder: (key, ttlMs) =>
        forkHolder(join(import.meta.dirname, "conformance-holder-child.ts"), {
          args: [server.url, namespace, key, String(ttlMs)],
          execArgv: ["--conditions=source", "--import", "tsx"],
        }),
      async singleConnection() {
        const single = new MongoClient(server.url, { maxPoolSize: 1 });
        closing.push(() => single.close());
        return mongodbBackend({ client: single });
      },
    };
  }

  return {
    name: `mongodb ${server.version} (${server.provider})`,
    open,
    concurrency: 5,
    // Every subscriber is woken; core has one per process and name.
    declared: { wokenPerRelease: 10 },
    skip: Object.fromEntries(needsReplicaSet),
  };
}
