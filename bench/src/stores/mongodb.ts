import { randomUUID } from "node:crypto";
import { mongodbBackend } from "@coord/mongodb";
import { start } from "@coord/test-fixtures";
import { LockManager } from "mongo-locks";
import { MongoClient } from "mongodb";
import type { BenchStore, Contender } from "../store.ts";
import { fillKey, fillNamespace, leaveReleasedRecord } from "./released-record.ts";

interface Bare {
  readonly _id: string;
  readonly holder: string;
  readonly fence: number;
  readonly expiresAt: Date;
}

async function mongoLocks(url: string, connections: number): Promise<Contender> {
  const client = await new MongoClient(url, { maxPoolSize: connections }).connect();
  const locks = new LockManager(client.db().collection("mongo_locks"));
  // It makes its indexes in the background; a lock waits for them.
  await (await locks.lock(`first:${randomUUID()}`))?.free();
  return {
    name: "mongo-locks",
    async cycle(key) {
      const lock = await locks.lock(key);
      if (lock === null) throw new Error("not acquired");
      await lock.free();
    },
    close: () => client.close(),
  };
}

export const mongodb: BenchStore = {
  name: "mongodb",
  title: "MongoDB (without containers FerretDB, which has no change streams: waiters poll)",
  cells: ["cycles", "handOff", "crowd", "idle", "renewal", "names"],
  aims: {},
  inFlight: 32,
  bareText: "two findOneAndUpdate by _id with w: majority",
  mostNames: 10_000,
  renewals: { quick: 2000, full: 10_000 },
  start: () => start("mongodb"),
  async backend(url, connections) {
    const client = await new MongoClient(url, { maxPoolSize: Math.max(2, connections) }).connect();
    return { backend: mongodbBackend({ client }), close: () => client.close() };
  },
  async bare(url, connections, keys) {
    const client = await new MongoClient(url, { maxPoolSize: connections }).connect();
    const locks = client.db().collection<Bare>("bare", { writeConcern: { w: "majority" } });
    await locks.deleteMany({});
    await locks.insertMany(keys.map((key) => ({ _id: key, holder: "", fence: 0, expiresAt: new Date(0) })));
    return {
      name: "bare commands",
      async cycle(key) {
        await locks.findOneAndUpdate(
          { _id: key },
          { $set: { holder: "me", expiresAt: new Date(Date.now() + 30_000) }, $inc: { fence: 1 } },
        );
        await locks.findOneAndUpdate({ _id: key, holder: "me" }, { $set: { expiresAt: new Date(0) } });
      },
      close: () => client.close(),
    };
  },
  peers: async (url, connections) => [await mongoLocks(url, connections)],
  async fill(url, count) {
    await leaveReleasedRecord(mongodbBackend({ url }));
    const client = await new MongoClient(url).connect();
    const leases = client.db().collection<{ _id: string }>("coord_leases", { promoteValues: false });
    const record = await leases.findOne({ _id: `${fillNamespace}:${fillKey(0)}` });
    const present = await leases.countDocuments({ _id: { $gte: "fill:", $lt: "fill;" } });
    for (let from = present; from < count; from += 1000) {
      const copies = Array.from({ length: Math.min(1000, count - from) }, (_, i) => ({
        ...record,
        _id: `${fillNamespace}:${fillKey(from + i)}`,
      }));
      await leases.insertMany(copies, { ordered: false });
    }
    await client.close();
  },
};
