import type { Backend } from "@coord/core";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  acquireRequest,
  bucketName,
  callOptions,
  type FakeStore,
  freshName,
  granted,
  openFakeStore,
} from "./fake-store.ts";

// A busy machine may be slow.
vi.setConfig({ testTimeout: 60_000 });

let store: FakeStore;
let one: Backend;
let two: Backend;

beforeEach(async () => {
  store = await openFakeStore();
  one = store.open();
  two = store.open();
});

afterEach(() => store.close());

/** The requests of one call. */
async function requestsOf(call: () => Promise<unknown>): Promise<string[]> {
  store.clearLog();
  await call();
  return store.methods();
}

const options = callOptions();

describe("requests of each operation, as they arrive at the store", () => {
  test("acquire is two: of a new name, a released one and a lapsed one", async () => {
    const name = freshName();
    const [first, second] = [acquireRequest(name, "g1"), acquireRequest(name, "g2")];
    expect(await requestsOf(() => one.acquire(first, options))).toEqual(["GET", "POST"]);
    await one.release({ ...first, fence: null }, options);
    expect(await requestsOf(() => two.acquire(second, options))).toEqual(["GET", "PATCH"]);
    store.pass(40_000);
    const third = acquireRequest(name, "g3", { payload: "new" });
    expect(await requestsOf(() => one.acquire(third, options))).toEqual(["GET", "POST"]);
  });

  test("a payload that is kept is one request more, for a process that has not seen it", async () => {
    const name = freshName();
    const grant = await granted(one, name, { payload: "kept" });
    await one.release(grant, options);
    const again = acquireRequest(name, "g2");
    expect(await requestsOf(() => two.acquire(again, options))).toEqual(["GET", "BODY", "PATCH"]);
    await two.release({ ...again, fence: null }, options);
    expect(await requestsOf(() => two.acquire(acquireRequest(name, "g3"), options))).toEqual([
      "GET",
      "PATCH",
    ]);
    expect(await requestsOf(() => one.inspect(name, options))).toEqual(["GET"]);
  });

  test("a refusal is one, and its payload one more", async () => {
    const name = freshName();
    await granted(one, name, { payload: "p" });
    expect(await requestsOf(() => two.acquire(acquireRequest(name, "g2"), options))).toEqual(["GET"]);
    const curious = acquireRequest(name, "g3", { withPayload: true });
    expect(await requestsOf(() => two.acquire(curious, options))).toEqual(["GET", "BODY"]);
  });

  test("renew is one, with a payload too; after another writer three", async () => {
    const grant = await granted(one, freshName());
    const save = { ...grant, payload: "p", payloadSeq: 1 };
    expect(await requestsOf(() => one.renew([grant], options))).toEqual(["PATCH"]);
    expect(await requestsOf(() => one.renew([save], options))).toEqual(["POST"]);
    expect(await requestsOf(() => one.renew([grant], options))).toEqual(["PATCH"]);
    await two.renew([grant], options);
    expect(await requestsOf(() => one.renew([grant], options))).toEqual(["PATCH", "GET", "PATCH"]);
  });

  test("release is one, of a process that did not acquire two, and its repeat one", async () => {
    const [grant, other] = [await granted(one, freshName()), await granted(one, freshName())];
    expect(await requestsOf(() => one.release(grant, options))).toEqual(["PATCH"]);
    expect(await requestsOf(() => one.release(grant, options))).toEqual(["GET"]);
    expect(await requestsOf(() => two.release(other, options))).toEqual(["GET", "PATCH"]);
  });

  test("inspect is one, with an unseen payload two; overrule two", async () => {
    const name = freshName();
    expect(await requestsOf(() => one.inspect(name, options))).toEqual(["GET"]);
    const { fence } = await granted(one, name, { payload: "p" });
    expect(await requestsOf(() => two.inspect(name, options))).toEqual(["GET", "BODY"]);
    const overrule = { name, grantId: "o", fence, released: false, sealed: false, retainMs: null };
    expect(await requestsOf(() => two.overrule(overrule, options))).toEqual(["GET", "PATCH"]);
  });

  test("a thousand records are listed in two, and setup is one", async () => {
    expect(await requestsOf(() => one.setup(options))).toEqual(["GET"]);
    await granted(one, freshName("record"));
    const objects = store.fake.objects(bucketName);
    for (const object of objects.values()) {
      for (let i = 0; i < 1039 && objects.size < 1040; i += 1) {
        objects.set(`${object.name}${i}`, { ...object, name: `${object.name}${i}` });
      }
    }
    const list = { namespace: "ns", prefix: "", limit: 1000 };
    expect(
      await requestsOf(async () => expect(await one.list(list, options)).toHaveLength(1000)),
    ).toHaveLength(1);
    const all = { ...list, sealed: true };
    expect(await requestsOf(() => one.list(all, options))).toHaveLength(2);
  });
});

test("heartbeat, takeover and release leave the body and its generation alone, and delete nothing", async () => {
  const name = freshName();
  await granted(one, name, { payload: "p" });
  const object = store.fake.objects("leases").get(store.objectOf(name));
  const generation = object?.generation;
  store.pass(40_000);
  const grant = await granted(two, name);
  await two.renew([grant], options);
  await two.release(grant, options);
  expect(object?.generation).toBe(generation);
  expect(object?.body.toString()).toBe("#p");
  expect(store.methods()).not.toContain("DELETE");
});

test("every mutation is under a generation, and all but a creation under a metageneration too", async () => {
  const name = freshName();
  for (const backend of [one, two]) {
    const grant = await granted(backend, name, { payload: "p" });
    await backend.renew([{ ...grant, payload: "q", payloadSeq: 1 }, grant], options);
    await two.overrule({ ...grant, grantId: `o ${grant.grantId}`, released: false, now: true }, options);
    await backend.release({ ...grant, retainMs: 1 }, options);
  }
  store.pass(100_000);
  await one.prune({ limit: 1 }, options);
  const mutations = store.fake.log.filter(({ method }) => method !== "GET").map(({ query }) => query);
  const creations = mutations.filter((query) => query.get("ifGenerationMatch") === "0");
  const both = mutations.filter(
    (query) => query.has("ifGenerationMatch") && query.has("ifMetagenerationMatch"),
  );
  expect([creations.length, both.length]).toEqual([1, mutations.length - 1]);
  expect(store.methods()).toContain("DELETE");
});
