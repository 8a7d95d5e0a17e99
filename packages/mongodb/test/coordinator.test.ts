import { assertFenced, createCoordinator, isCoordError, openCoordinator } from "@coord/core";
import { MongoClient } from "mongodb";
import { describe, expect, test } from "vitest";
import { mongodbBackend } from "../src/index.ts";
import { codeOf, freshNamespace, within } from "./calls.ts";
import { missing, useStore } from "./store.ts";

describe.skipIf(missing)("the coordinator on MongoDB", () => {
  const store = useStore();

  test("the example of the page works, and a stale holder's write is refused", async () => {
    const { client, db } = store();
    const coord = createCoordinator({ backend: mongodbBackend({ client }), namespace: freshNamespace() });
    await coord.setup();
    const invoices = db.collection<{ _id: number; fence: bigint; state: string }>("invoices");
    await db.collection<{ _id: number; state: string }>("invoices").insertOne({ _id: 42, state: "new" });
    const write = async (fence: bigint, state: string): Promise<number> => {
      const fresh = { $or: [{ fence: { $exists: false } }, { fence: { $lte: fence } }] };
      return (await invoices.updateOne({ _id: 42, ...fresh }, { $set: { state, fence } })).matchedCount;
    };
    const stale = await coord.acquire("invoice:42");
    await coord.breakLease("invoice:42", { fence: stale.fence, by: "test", now: true });
    await coord.withLease("invoice:42", async (lease) => {
      assertFenced(lease, await write(lease.fence, "sent"));
      // The same write again changes nothing and is no stale one.
      assertFenced(lease, await write(lease.fence, "sent"));
    });
    const matched = await write(stale.fence, "lost");
    expect(() => assertFenced(stale, matched)).toThrow(
      expect.objectContaining({ code: "COORD_STALE_FENCE" }),
    );
    expect((await invoices.findOne({ _id: 42 }))?.state).toBe("sent");
    await stale.release().catch(() => {});
    await coord.close();
  });

  test(
    "ten turns of two processes with one connection each neither overlap nor stall",
    { timeout: 30_000 },
    async () => {
      const namespace = freshNamespace();
      const clients = [0, 1].map(() => new MongoClient(store().server.url, { maxPoolSize: 1 }));
      const coordinators = clients.map((client) =>
        createCoordinator({ backend: mongodbBackend({ client }), namespace }),
      );
      await coordinators[0]?.setup();
      let inside = 0;
      let most = 0;
      const turns = Array.from({ length: 10 }, async (_, index) => {
        await coordinators[index % 2]?.withLease("turn", { ttlMs: 2000, waitMs: 25_000 }, async (lease) => {
          inside += 1;
          most = Math.max(most, inside);
          await lease.renew();
          inside -= 1;
        });
      });
      await Promise.all(turns);
      expect(most).toBe(1);
      for (const coord of coordinators) await coord.close();
      for (const client of clients) await client.close();
    },
  );

  test("a URL is enough, and the client made from it is closed", async () => {
    const backends = { mongodb: (url: string) => mongodbBackend({ url }) };
    const coord = await openCoordinator(
      { url: store().server.url, namespace: freshNamespace() },
      { backends },
    );
    await coord.setup();
    expect(await coord.withLease("by-url", async (lease) => lease.fence > 0n)).toBe(true);
    await coord.close();
    const after = coord.backend.inspect({ namespace: "a", key: "b" }, within());
    expect(await codeOf(after)).toBe("COORD_UNAVAILABLE");
  });

  test("a missing collection is told by the first lease", async () => {
    const db = store().client.db(freshNamespace());
    const coord = createCoordinator({ backend: mongodbBackend({ db }), namespace: "a" });
    await expect(coord.tryAcquire("x")).rejects.toSatisfy((error) => isCoordError(error, "COORD_NOT_SET_UP"));
    await coord.close();
  });
});
