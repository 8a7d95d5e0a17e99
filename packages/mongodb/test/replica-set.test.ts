/** What only a replica set can prove: change streams, transactions and collations of a real MongoDB. */
import { type AcquireRequest, type Grant, isCoordError, type Name } from "@coord/core";
import { afterEach, describe, expect, test } from "vitest";
import { type MongodbBackend, mongodbBackend } from "../src/index.ts";
import { codeOf, freshId, freshNamespace, within } from "./calls.ts";
import { missing, useStore } from "./store.ts";

const namespace = freshNamespace();
let count = 0;
const freshName = (): Name => ({ namespace, key: `l\u001fset ${(count += 1)}` });
const attempt = (name: Name, ttlMs = 60_000): AcquireRequest => ({
  name,
  grantId: freshId(),
  holder: "set",
  ttlMs,
  sealed: false,
  retainMs: 60_000,
});
const endOf = ({ name, grantId, fence }: Grant) => ({
  name,
  grantId,
  fence,
  sealed: false,
  retainMs: 60_000,
});

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 15_000;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe.skipIf(missing)("on a replica set", () => {
  const store = useStore();
  const opened: MongodbBackend[] = [];
  afterEach(async () => {
    for (const backend of opened.splice(0)) await backend.close();
  });

  async function open(): Promise<MongodbBackend> {
    const backend = mongodbBackend({ client: store().client });
    opened.push(backend);
    await backend.setup(within());
    return backend;
  }
  async function grant(backend: MongodbBackend, name: Name, ttlMs?: number): Promise<Grant> {
    const request = attempt(name, ttlMs);
    const answer = await backend.acquire(request, within());
    if (answer.outcome !== "granted") throw new Error(`refused: ${answer.reason}`);
    return { name, grantId: request.grantId, fence: answer.fence };
  }
  const limit = { timeout: 60_000 };
  const standalone = (): boolean => store().server.capabilities["replicaSet"] !== true;

  test(
    "a release and an unsealing wake a waiter over the change stream, a heartbeat does not",
    limit,
    async ({ skip }) => {
      skip(standalone(), "needs a replica set");
      const [one, two] = [await open(), await open()];
      const name = freshName();
      const held = await grant(two, name);
      let woken = 0;
      const subscription = await one.watch?.(name, () => (woken += 1), within());
      expect(subscription?.live).toBe(true);
      await two.renew([{ ...held, ttlMs: 90_000 }], within());
      const other = await grant(two, freshName());
      await two.release(endOf(other), within());
      await two.release({ ...endOf(held), sealed: true }, within());
      await until("the release wakes", () => woken === 1);
      await two.overrule({ ...endOf(held), grantId: freshId(), released: true }, within());
      await until("the unsealing wakes", () => woken === 2);
      await subscription?.close();
    },
  );

  test("a takeover waits for the transaction that verified the lease", limit, async ({ skip }) => {
    skip(standalone(), "needs a replica set");
    const { client } = store();
    const backend = await open();
    const name = freshName();
    const held = await grant(backend, name, 1000);
    const session = client.startSession();
    try {
      session.startTransaction();
      await backend.within(session).verify({ grant: held });
      await until(
        "the lease lapses",
        async () => (await backend.inspect(name, within()))?.state === "lapsed",
      );
      const takeover = attempt(name);
      expect(await codeOf(backend.acquire(takeover, within(1500)))).toBe("COORD_UNAVAILABLE");
      expect((await backend.inspect(name, within()))?.grantId).toBe(held.grantId);
      await session.commitTransaction();
      await until("the takeover is granted", async () => {
        try {
          return (await backend.acquire(takeover, within())).outcome === "granted";
        } catch (error) {
          if (isCoordError(error, "COORD_UNAVAILABLE")) return false;
          throw error;
        }
      });
    } finally {
      await session.endSession();
    }
  });

  test(
    "a lease that was taken over is lost inside the transaction, whose writes do not happen",
    limit,
    async ({ skip }) => {
      skip(standalone(), "needs a replica set");
      const { client, db } = store();
      const backend = await open();
      const name = freshName();
      const held = await grant(backend, name);
      await backend.overrule({ ...endOf(held), grantId: freshId(), released: false, now: true }, within());
      const invoices = db.collection<{ _id: string }>("invoices");
      const lost = client.withSession((session) =>
        session.withTransaction(async () => {
          await backend.within(session).verify({ grant: held });
          await invoices.insertOne({ _id: held.grantId }, { session });
        }),
      );
      expect(await codeOf(lost)).toBe("COORD_LEASE_LOST");
      expect(await invoices.countDocuments({ _id: held.grantId })).toBe(0);
    },
  );

  test(
    "a takeover between snapshot and verify is a write conflict, and the next run finds it lost",
    limit,
    async ({ skip }) => {
      skip(standalone(), "needs a replica set");
      const { client, db } = store();
      const backend = await open();
      const name = freshName();
      const held = await grant(backend, name);
      let runs = 0;
      const lost = client.withSession((session) =>
        session.withTransaction(async () => {
          runs += 1;
          await db.collection("coord_leases").findOne({}, { session }); // Takes the snapshot.
          if (runs === 1) {
            const overrule = { ...endOf(held), grantId: freshId(), released: false, now: true };
            await backend.overrule(overrule, within());
          }
          await backend.within(session).verify({ grant: held });
        }),
      );
      expect(await codeOf(lost)).toBe("COORD_LEASE_LOST");
      expect(runs).toBe(2);
    },
  );

  test(
    "a release inside a transaction happens with its commit, and not with its abort",
    limit,
    async ({ skip }) => {
      skip(standalone(), "needs a replica set");
      const { client } = store();
      const backend = await open();
      const held = await grant(backend, freshName());
      const session = client.startSession();
      try {
        session.startTransaction();
        expect(await backend.within(session).release(endOf(held))).toEqual({ outcome: "released" });
        await session.abortTransaction();
        expect((await backend.inspect(held.name, within()))?.state).toBe("held");
        session.startTransaction();
        await backend.within(session).release({ ...endOf(held), payload: "done" });
        await session.commitTransaction();
      } finally {
        await session.endSession();
      }
      const repeat = await backend.release({ ...endOf(held), payload: "late" }, within());
      expect(repeat).toMatchObject({ outcome: "released", record: { payload: "done" } });
    },
  );

  test(
    "a collection with a collation is refused by setup, by diagnose and by every call",
    limit,
    async ({ skip }) => {
      skip(standalone(), "needs a replica set");
      const { client } = store();
      const db = client.db(freshNamespace());
      await db.createCollection("coord_leases", { collation: { locale: "en", strength: 1 } });
      const backend = mongodbBackend({ db });
      opened.push(backend);
      expect(await codeOf(backend.setup(within()))).toBe("COORD_CONFIGURATION");
      expect(await codeOf(backend.inspect(freshName(), within()))).toBe("COORD_CONFIGURATION");
      const { findings } = await backend.diagnose(within());
      expect(
        findings
          .filter(({ level }) => level === "error")
          .map(({ message }) => message)
          .join(),
      ).toContain("collation");
      await db.dropDatabase();
    },
  );
});
