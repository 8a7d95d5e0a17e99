/** Servers that are away, set up otherwise, or of another kind. */
import { whyMissing } from "@coord/test-fixtures";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createConsumer, createProducer } from "../../src/consumer/index.ts";
import { slotOfKey } from "../../src/keys.ts";
import { moveSlot, startCluster, startRedis, until } from "../server.ts";
import { quick, recorder, startQueues } from "./queue.ts";

const missing = await whyMissing("redis");
const missingValkey = await whyMissing("redis", { flavor: "valkey" });
const missingCluster = await whyMissing("redis", { cluster: 3 });

/** The ACL that the queue guide lists. */
const leastPrivilege =
  "~orders* ~{orders}* -@all +evalsha +eval +ping +info +client|id +client|unblock +xgroup|create +xgroup|delconsumer +xreadgroup +xpending +xack +xdel +xclaim +xautoclaim +xadd +xrange +xlen +xinfo|consumers +xinfo|groups +xtrim +exists +get +set +hsetnx +hget";

describe.skipIf(missing !== undefined)(
  `servers in trouble${missing ? `: ${missing}` : ""}`,
  { timeout: 60_000, concurrent: true },
  () => {
    let server: Awaited<ReturnType<typeof startQueues>>;
    beforeAll(async () => {
      server = await startQueues();
    }, 60_000);
    afterAll(() => server[Symbol.asyncDispose]());

    test("a stream, or dead letters, of another type end run with a clear error", async () => {
      await using queue = server.queue();
      await server.admin.set(queue.stream, "text");
      await expect(queue.consumer().run(() => {})).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
      await using other = server.queue();
      await server.admin.set(other.deadStream, "text");
      await other.fill(1);
      await expect(other.consumer().run(() => {})).rejects.toThrow(/WRONGTYPE/);
    });

    test("a group whose consumers claim after another time is not joined", async () => {
      await using queue = server.queue();
      await queue.fill(1);
      await queue.consumer().next();
      const other = queue.consumer({ claimAfterMs: 5000 });
      await expect(other.next()).rejects.toThrow(/claimAfterMs must be the same .* runs with 3000, got 5000/);
      await expect(other.next()).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
    });

    test("a missing group is an error where it is not to be made, and a lost one where that was asked for", async () => {
      await using queue = server.queue();
      const careful = queue.consumer({ createGroup: false });
      await expect(careful.run(() => {})).rejects.toMatchObject({ code: "COORD_NOT_SET_UP" });
      const strict = queue.consumer({ onGroupLost: "stop" });
      const { seen, handle } = recorder<number>();
      const running = strict.run(handle);
      await queue.fill(1);
      await until(() => seen.length === 1);
      await server.admin.del(queue.stream);
      await expect(running).rejects.toThrow(/was removed while it was used/);
    });

    test("a new group may begin with what comes from now on", async () => {
      await using queue = server.queue();
      await queue.fill(2);
      const { seen, handle } = recorder<number>();
      void queue.consumer({ createGroup: "now" }).run(handle);
      await until(() => queue.events.some(({ event }) => event === "group-created"));
      await queue.fill(1, 2);
      await until(() => seen.length === 1);
      expect(seen[0]?.body).toBe(2);
    });

    test("a user with the least permissions can do all of it", async () => {
      await server.admin.call("acl", "setuser", "least", "on", ">pw", ...leastPrivilege.split(" "));
      const url = server.url.replace("//", "//least:pw@");
      const consumer = createConsumer<number>({
        url,
        stream: "orders",
        group: "g",
        ...quick,
        maxDeliveries: 2,
      });
      await using producer = createProducer({ url, stream: "orders" });
      for (let i = 0; i < 3; i++) await producer.produce(i, { idempotencyKey: `k${i}` });
      const { seen, handle } = recorder<number>();
      const running = consumer.run(async (message) => {
        handle(message);
        if (message.body === 1) throw new Error("no");
        if (message.body === 2) await new Promise((resolve) => setTimeout(resolve, 500));
      });
      await until(async () => (await server.admin.xlen("{orders}:g:dead")) === 1 && seen.length === 4);
      await until(async () => (await consumer.trim()) > 0);
      await consumer.stop();
      await running;
    });

    test("a consumer starts before its server, outlives its restart, and stops while it hangs", async () => {
      const own = await startRedis({ settings: {} });
      const stream = "orders";
      await own.faults?.kill();
      const { seen, handle } = recorder<number>();
      const consumer = createConsumer<number>({ url: own.url, stream, group: "g", ...quick });
      const running = consumer.run(handle);
      await own.faults?.restart();
      await own.admin.xadd(stream, "*", "body", "1");
      await until(() => seen.length === 1);
      await own.faults?.restart();
      await own.admin.xadd(stream, "*", "body", "2");
      await until(() => seen.some(({ body }) => body === 2));
      await own.faults?.pause();
      const beganMs = performance.now();
      await consumer.stop();
      await running;
      expect(performance.now() - beganMs).toBeLessThan(15_000);
      await own.faults?.resume();
      await own[Symbol.asyncDispose]();
    });
  },
);

test.skipIf(missingValkey !== undefined)(
  `Valkey: handled, tried again, taken over, buried${missingValkey ? `: ${missingValkey}` : ""}`,
  { timeout: 60_000 },
  async () => {
    await using server = await startQueues({ flavor: "valkey" });
    await using queue = server.queue();
    await queue.fill(20);
    await server.admin.xgroup("CREATE", queue.stream, queue.group, "0");
    await server.admin.xreadgroup("GROUP", queue.group, "dead", "COUNT", 5, "STREAMS", queue.stream, ">");
    const { seen, handle } = recorder<number>();
    const consumer = queue.consumer({ maxDeliveries: 3, claimAfterMs: 1000 });
    const running = consumer.run((message) => {
      handle(message);
      if (message.body === 7) throw new Error("no");
    });
    await until(
      async () => (await queue.dead()).length === 1 && new Set(seen.map(({ id }) => id)).size === 20,
    );
    await consumer.stop();
    await running;
    expect(seen).toHaveLength(22);
    expect(await queue.pending()).toBe(0);
  },
);

test.skipIf(missingCluster !== undefined)(
  `a cluster: handled, tried again, taken over, buried, moved to another node, stopped at once${missingCluster ? `: ${missingCluster}` : ""}`,
  { timeout: 60_000 },
  async () => {
    await using cluster = await startCluster();
    async function liveOn(stream: string): Promise<void> {
      const common = { url: cluster.clusterUrl, stream };
      await using producer = createProducer(common);
      for (let i = 0; i < 10; i++) await producer.produce(i, { idempotencyKey: `m${i}` });
      await cluster.admin.xgroup("CREATE", stream, "g", "0");
      await cluster.admin.xreadgroup("GROUP", "g", "dead", "COUNT", 3, "STREAMS", stream, ">");
      const { seen, handle } = recorder<number>();
      const wishes = { ...quick, claimAfterMs: 1000, maxDeliveries: 2, blockMs: 30_000 };
      const consumer = createConsumer<number>({ ...common, group: "g", ...wishes });
      const running = consumer.run((message) => {
        handle(message);
        if (message.body === 7) throw new Error("no");
      });
      const dead = stream.includes("{") ? `${stream}:g:dead` : `{${stream}}:g:dead`;
      await until(async () => seen.length === 11 && (await cluster.admin.xlen(dead)) === 1);
      await moveSlot(cluster.admin, slotOfKey(stream));
      await producer.produce(10);
      await until(() => seen.length === 12);
      const beganMs = performance.now();
      await consumer.stop();
      await running;
      expect(performance.now() - beganMs).toBeLessThan(1900);
      const [pending] = (await cluster.admin.call("XPENDING", stream, "g")) as [number];
      expect(pending).toBe(0);
    }
    await liveOn("plain");
    await liveOn("some:{tag}:x");
  },
);
