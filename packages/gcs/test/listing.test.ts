import type { Backend } from "@coord/core";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createBodyCache } from "../src/body-cache.ts";
import { bucketName, callOptions, type FakeStore, freshName, granted, openFakeStore } from "./fake-store.ts";

// A busy machine may be slow.
vi.setConfig({ testTimeout: 60_000 });

let store: FakeStore;
let backend: Backend;

beforeEach(async () => {
  store = await openFakeStore();
  backend = store.open();
});

afterEach(() => store.close());

const options = callOptions();

/** Copies of one record under other names, as if so many had been granted. */
async function records(count: number, retainMs: number | null): Promise<void> {
  const name = freshName("a record");
  await backend.release({ ...(await granted(backend, name)), retainMs }, options);
  const objects = store.fake.objects(bucketName);
  const object = objects.get(store.objectOf(name));
  if (object === undefined) throw new Error("no record to copy");
  for (let i = 0; i < count - 1; i += 1) {
    const copy = { ...object, name: `${object.name}${String(i).padStart(5, "0")}` };
    objects.set(copy.name, copy);
  }
}

test("clean-up that runs out of time goes on where it stopped, and begins anew at the end", async () => {
  await records(3500, null);
  for (const key of ["z1", "z2", "z3"]) {
    await backend.release({ ...(await granted(backend, freshName(key))), retainMs: 1 }, options);
  }
  store.pass(5000);
  const isListing = ({ path }: { readonly path: string }): boolean => path.endsWith("/o");
  // Each page takes a quarter of the time, and half of it is for looking.
  store.fake.faults.push({ match: isListing, afterMs: 500 });
  const deleted: number[] = [];
  while (deleted.reduce((sum, count) => sum + count, 0) < 3 && deleted.length < 10) {
    store.clearLog();
    deleted.push(await backend.prune({ limit: 100 }, callOptions(2000)));
    expect(store.methods().filter((method) => method === "GET").length).toBeLessThanOrEqual(3);
  }
  expect(deleted.filter((count) => count === 0).length).toBeGreaterThan(0);
  store.fake.faults.splice(0);
  await backend.release({ ...(await granted(backend, freshName("a first"))), retainMs: 1 }, options);
  store.pass(5000);
  expect(await backend.prune({ limit: 100 }, options)).toBe(1);
});

test("clean-up deletes no more than asked, of all namespaces, and nothing that is not a record", async () => {
  await records(40, 1);
  const other = { namespace: "other", key: "l\u001fk" };
  await backend.release({ ...(await granted(backend, other)), retainMs: 1 }, options);
  const objects = store.fake.objects(bucketName);
  const stranger = { ...objects.get(store.objectOf(other)), name: "coord/ns/stranger", metadata: {} };
  objects.set(stranger.name, Object.assign(Object.create(null), stranger));
  store.pass(5000);
  const counts = [];
  for (let i = 0; i < 4; i += 1) counts.push(await backend.prune({ limit: 17 }, options));
  expect(counts).toEqual([17, 17, 7, 0]);
  expect([...objects.keys()]).toEqual(["coord/ns/stranger"]);
});

test("a list of one namespace shows no other whose name begins alike", async () => {
  for (const namespace of ["ns", "ns2", "n"]) await granted(backend, { namespace, key: "k" });
  const listed = await backend.list({ namespace: "ns", prefix: "", limit: 10 }, options);
  expect(listed.map(({ namespace, key, payload }) => [namespace, key, payload])).toEqual([
    ["ns", "k", undefined],
  ]);
});

test("the cache of bodies holds the latest, up to its size", () => {
  const cache = createBodyCache(10);
  cache.set("a", "12345");
  cache.set("b", "12345");
  cache.set("b", "123456");
  expect([cache.get("a"), cache.get("b")]).toEqual([undefined, "123456"]);
  cache.set("c", "1234");
  expect([cache.get("b"), cache.get("c")]).toEqual(["123456", "1234"]);
  cache.set("d", "x".repeat(11));
  expect([cache.get("b"), cache.get("c"), cache.get("d")]).toEqual([undefined, undefined, undefined]);
});
