/** Interleavings that a suite for every store can't force, each on a backend that may be spoiled. */
import assert from "node:assert/strict";
import type { GcsBucket } from "../src/index.ts";
import { acquireRequest, callOptions, type FakeStore, freshName, granted } from "./fake-store.ts";

type Wrap = (bucket: GcsBucket) => GcsBucket;

const options = callOptions();

/** Does something right before a request of that method goes out. */
const before =
  (method: string, act: () => Promise<unknown>) =>
  (bucket: GcsBucket): GcsBucket => ({
    name: bucket.name,
    storage: bucket.storage,
    async request(request) {
      if (request.method === method) await act();
      return await bucket.request(request);
    },
  });

export const ownChecks: Readonly<Record<string, (store: FakeStore, wrap: Wrap) => Promise<void>>> = {
  /** A new generation begins with the same metageneration. */
  async "own/heartbeat-after-replacement"(store, wrap) {
    const one = store.open({ wrap });
    const first = await granted(one, freshName());
    const next = acquireRequest(first.name, "next", { from: first, payload: "new" });
    assert.equal((await store.open().acquire(next, options)).outcome, "granted");
    assert.deepEqual(await one.renew([first], options), ["lost"]);
  },
  /** A patch leaves the generation as it is. */
  async "own/save-after-overrule"(store, wrap) {
    const one = store.open({ wrap });
    const grant = await granted(one, freshName());
    const overrule = { ...grant, grantId: "operator", released: false };
    assert.equal((await store.open().overrule(overrule, options)).outcome, "overruled");
    assert.deepEqual(await one.renew([{ ...grant, payload: "late", payloadSeq: 1 }], options), ["lost"]);
  },
  async "own/holder-of-a-takeover"(store, wrap) {
    const one = store.open({ wrap });
    const { name } = await granted(one, freshName(), { holder: "first" });
    store.pass(40_000);
    await granted(one, name, { holder: "second" });
    assert.equal((await one.inspect(name, options))?.holder, "second");
  },
  async "own/no-payload-is-none"(store, wrap) {
    const one = store.open({ wrap });
    const { name } = await granted(one, freshName());
    assert.equal((await one.inspect(name, options))?.payload, undefined);
  },
  async "own/payload-of-the-record"(store, wrap) {
    const writer = store.open();
    const grant = await granted(writer, freshName(), { payload: "old" });
    let requests = 0;
    const replaced = before("GET", async () => {
      const isBody = (requests += 1) === 2;
      if (isBody) await writer.renew([{ ...grant, payload: "new", payloadSeq: 1 }], options);
    });
    const record = await store
      .open({ wrap: (bucket) => replaced(wrap(bucket)) })
      .inspect(grant.name, options);
    assert.deepEqual([record?.payload, record?.payloadSeq], ["new", 1]);
  },
  async "own/sent-once"(store, wrap) {
    store.fake.faults.push({ status: 503 });
    const waits = callOptions(4000);
    await assert.rejects(store.open({ wrap }).inspect(freshName(), waits), { code: "COORD_UNAVAILABLE" });
    assert.deepEqual(store.methods(), ["GET"]);
  },
  async "own/clean-up-after-an-acquire"(store, wrap) {
    const other = store.open();
    const grant = await granted(other, freshName());
    await other.release({ ...grant, retainMs: 1 }, options);
    store.pass(5000);
    const acquired = before("DELETE", () => granted(other, grant.name));
    const cleaner = store.open({ wrap: (bucket) => acquired(wrap(bucket)) });
    assert.equal(await cleaner.prune({ limit: 1 }, options), 0);
    assert.equal((await other.inspect(grant.name, options))?.state, "held");
  },
};
