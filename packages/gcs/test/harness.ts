import { join } from "node:path";
import { forkHolder } from "@coord/conformance";
import type { Harness, Holder, Misconfigured } from "@coord/conformance";
import { startProxy } from "@coord/test-fixtures";
import type { GcsBucket } from "../src/index.ts";
import { bucketName, type FakeStore, openFakeStore } from "./fake-store.ts";

/** Replies that are lost are those of writes. */
const isWrite = ({ method }: { readonly method: string }): boolean => method !== "GET";

async function broken(title: string, spoil: (store: FakeStore) => void): Promise<Misconfigured> {
  const store = await openFakeStore();
  spoil(store);
  return { title, backend: store.open(), close: () => store.close() };
}

const spoilSetting =
  (name: string, value: unknown) =>
  ({ fake }: FakeStore): void =>
    void fake.addBucket(bucketName, { [name]: value });

/** A process that holds the lease of `key`. */
export const spawnHolder = (url: string, namespace: string, key: string, ttlMs: number): Promise<Holder> =>
  forkHolder(join(import.meta.dirname, "conformance-holder-child.ts"), {
    args: [url, namespace, key, String(ttlMs)],
    execArgv: ["--conditions=source", "--import", "tsx"],
  });

/** The suite on the fake, whose clock passes without waiting; `wrap` spoils a backend's requests. */
export function fakeHarness(
  wrap: (bucket: GcsBucket) => GcsBucket = (bucket) => bucket,
  isStrict = true,
): Harness {
  let opens = 0;
  return {
    name: "Cloud Storage (strict fake)",
    timing: { slackMs: 250 },
    // The fake is in this process, and nothing waits.
    concurrency: 4,
    async open() {
      const store = await openFakeStore();
      const { fake } = store;
      fake.strict = isStrict;
      const proxy = await startProxy(fake.url);
      const namespace = `gcs_${(opens += 1)}`;
      return {
        backend: store.open({ endpoint: proxy.url.replace(/\/$/, ""), wrap }),
        namespace,
        second: async () => store.open({ wrap }),
        async close() {
          await proxy.stop();
          await store.close();
        },
        passTime: (ms) => store.pass(Math.ceil(ms)),
        stepClock: (ms) => void (fake.shiftMs += ms),
        swallowNextReply: () => void fake.faults.push({ match: isWrite, times: 1, swallow: true }),
        killConnections: async () => proxy.cut(),
        async cut() {
          await proxy.refuse();
          return () => proxy.heal();
        },
        async pause() {
          await fake.serverFaults.pause();
          return () => fake.serverFaults.resume();
        },
        restart: () => fake.serverFaults.restart(),
        writeFence(name, fence) {
          const object = fake.objects(bucketName).get(store.objectOf(name));
          if (object === undefined) throw new Error("no record to write a fence into");
          object.metadata["fence"] = String(fence);
          object.metageneration = String(Number(object.metageneration) + 1);
        },
        deleteRecord(name) {
          fake.objects(bucketName).delete(store.objectOf(name));
          // The clock tells seconds: a name that is deleted by hand within the second of its last grant
          // could be granted with the same fence again, as the documentation says.
          store.pass(1000);
        },
        spawnHolder: (key, ttlMs) =>
          spawnHolder(`gs://${bucketName}?endpoint=${fake.url}`, namespace, key, ttlMs),
        footprint: () => fake.objects(bucketName).size,
        async unprivileged() {
          fake.addBucket(bucketName).denied.add("storage.buckets.get");
          return store.open({ wrap });
        },
        async bare() {
          fake.addBucket(bucketName);
          return store.open({ wrap });
        },
        misconfigured: () =>
          Promise.all([
            broken(
              "a bucket with a retention policy",
              spoilSetting("retentionPolicy", { retentionPeriod: "60" }),
            ),
            broken("a bucket whose requester pays", spoilSetting("billing", { requesterPays: true })),
            broken("a bucket with a default hold", spoilSetting("defaultEventBasedHold", true)),
            broken(
              "a bucket that deletes old objects",
              spoilSetting("lifecycle", { rule: [{ action: { type: "Delete" }, condition: { age: 1 } }] }),
            ),
            broken("a server that ignores preconditions", ({ fake: careless }) => {
              careless.careless = new Set(["PATCH", "GET", "DELETE"]);
            }),
            broken("a bucket that is not there", (other) => other.fake.removeBucket(bucketName)),
          ]),
      };
    },
  };
}
