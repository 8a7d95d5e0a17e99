import { whyMissing } from "@coord/test-fixtures";
import { Redis as Redis5 } from "ioredis-5";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RedisStreamsBackend, redisStreamsBackend } from "../src/index.ts";
import { partition, slotOfKey } from "../src/keys.ts";
import { attempt, call, freshId, freshNamespace } from "./call.ts";
import { leastPrivilege } from "./harness.ts";
import { moveSlot, startCluster, startDisposableProxy, startRedis, until } from "./server.ts";

const missing = await whyMissing("redis");

describe.skipIf(missing !== undefined)(`steps${missing ? `: ${missing}` : ""}`, { timeout: 60_000 }, () => {
  let server: Awaited<ReturnType<typeof startRedis>>;
  let one: RedisStreamsBackend;
  let two: RedisStreamsBackend;
  beforeAll(async () => {
    server = await startRedis();
    one = redisStreamsBackend({ url: server.url });
    two = redisStreamsBackend({ client: server.admin });
  }, 60_000);
  afterAll(async () => {
    await Promise.all([one.close(), two.close()]);
    await server[Symbol.asyncDispose]();
  });

  const freshName = (key = "l\u001fname") => ({ namespace: freshNamespace(), key });

  test("of 60 attempts at once one is granted, and all others are told by whom", async () => {
    const name = freshName();
    const attempts = Array.from({ length: 60 }, () => attempt(name));
    const answers = await Promise.all(
      attempts.map((request, i) => (i % 2 ? one : two).acquire(request, call())),
    );
    const winners = attempts.filter((_, i) => answers[i]?.outcome === "granted");
    expect(winners).toHaveLength(1);
    const told = answers.map((answer) => (answer.outcome === "refused" ? answer.record?.grantId : "won"));
    expect(new Set(told)).toEqual(new Set(["won", winners[0]?.grantId]));
  });

  test("40 copies of one attempt get one fence", async () => {
    const request = attempt(freshName());
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) => (i % 2 ? one : two).acquire(request, call())),
    );
    expect(new Set(answers.map((answer) => answer.outcome === "granted" && answer.fence)).size).toBe(1);
  });

  test("of two releases with different outcomes one stands, and the other is told which", async () => {
    for (let i = 0; i < 50; i++) {
      const request = attempt(freshName());
      await one.acquire(request, call());
      const release = (payload: string, on: RedisStreamsBackend) =>
        on.release(
          {
            name: request.name,
            grantId: request.grantId,
            fence: null,
            sealed: true,
            payload,
            retainMs: null,
          },
          call(),
        );
      const answers = await Promise.all([release("a", one), release("b", two)]);
      const stands = (await one.inspect(request.name, call()))?.payload;
      const told = answers.map((answer) => (answer.outcome === "released" ? answer.record?.payload : "lost"));
      expect(new Set(told)).toEqual(new Set([stands, undefined]));
    }
  });

  test("a lease is not taken over before it ends by the server's clock, and soon after", async () => {
    const name = freshName();
    const ttlMs = 1000;
    await one.acquire(attempt(name, { ttlMs }), call());
    const began = performance.now();
    const reasons = new Set<string>();
    await until(async () => {
      const answer = await two.acquire(attempt(name), call());
      if (answer.outcome === "refused") reasons.add(answer.reason);
      return answer.outcome === "granted";
    });
    const waitedMs = performance.now() - began;
    expect(waitedMs).toBeGreaterThan(ttlMs - 50); // the grant was answered before we looked at our clock
    expect(waitedMs).toBeLessThan(ttlMs + 2000);
    expect(reasons).toEqual(new Set(["held"]));
  });

  test("records are deleted at purgeAt by the server itself, never while held", async () => {
    const name = freshName();
    const request = attempt(name, { ttlMs: 1500, retainMs: 0 });
    await one.acquire(request, call());
    const record = await one.inspect(name, call());
    expect(record).toMatchObject({ state: "held", purgeAt: record?.expiresAt });
    await one.overrule(
      {
        name,
        grantId: freshId(),
        fence: record?.fence ?? 0n,
        released: false,
        sealed: false,
        retainMs: 0,
      },
      call(),
    );
    expect(await one.inspect(name, call())).toMatchObject({
      state: "held",
      expiresAt: record?.expiresAt,
    });
    expect(await until(async () => (await one.inspect(name, call())) === null)).toBe(true);
    expect(Date.now()).toBeGreaterThan((record?.expiresAt ?? 0) - 100);
  });

  test("names that Redis has purged leave the index as new ones come", async () => {
    const namespace = freshNamespace();
    for (let i = 0; i < 200; i++) {
      const request = attempt({ namespace, key: `l\u001f${i}` });
      await one.acquire(request, call());
      await one.release({ ...request, fence: null, retainMs: 0 }, call());
    }
    expect(await server.admin.zcard(`coord:{${namespace}:0}:idx`)).toBeLessThan(30);
  });

  test("fences count on exactly past 2^53, and at the end of int64 the step is refused and nothing written", async () => {
    const name = freshName();
    const stored = `coord:{${name.namespace}:0}:l:${name.key}`;
    const request = attempt(name, { retainMs: null });
    await one.acquire(request, call());
    await one.release({ ...request, fence: null }, call());
    await server.admin.hset(stored, "f", "9007199254740993");
    const answer = await one.acquire(attempt(name, { ttlMs: 20 }), call());
    expect(answer).toMatchObject({ outcome: "granted", fence: 9_007_199_254_740_994n });
    await server.admin.hset(stored, "f", String(2n ** 63n - 1n), "e", "0");
    const before = await server.admin.hgetall(stored);
    await expect(one.acquire(attempt(name), call())).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
    expect(await server.admin.hgetall(stored)).toEqual(before);
  });

  test("pages go through a thousand names in byte order, also when a filter drops nearly all", async () => {
    const namespace = freshNamespace();
    const keys = Array.from(
      { length: 1200 },
      (_, i) => `l\u001f${["é", "z", "Z", "%", "\u{1f600}"][i % 5]}${i}`,
    );
    await Promise.all(
      keys.map((key, i) => one.acquire(attempt({ namespace, key }, { sealed: i === 7 }), call())),
    );
    const sorted = keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const seen: string[] = [];
    for (let after: string | undefined; ;) {
      const page = await two.list({ namespace, prefix: "l\u001f", after, limit: 500 }, call());
      seen.push(...page.map(({ key }) => key));
      after = page.at(-1)?.key;
      if (page.length < 500) break;
    }
    expect(seen).toEqual(sorted);
    const sealed = await two.list({ namespace, prefix: "", sealed: true, limit: 10 }, call());
    expect(sealed.map(({ key }) => key)).toEqual([keys[7]]);
    const percent = await two.list({ namespace, prefix: "l\u001f%", limit: 1000 }, call());
    expect(percent).toHaveLength(240);
  });

  test("a client of ioredis 5 is a template too, and stays as it was", async () => {
    const client = new Redis5(server.url, { lazyConnect: true });
    const backend = redisStreamsBackend({ client });
    const name = freshName();
    let wakes = 0;
    const subscription = await backend.watch(name, () => wakes++, call());
    const request = attempt(name, { payload: "ü\0😀" });
    expect(await backend.acquire(request, call())).toMatchObject({ outcome: "granted", payload: "ü\0😀" });
    await backend.release({ ...request, fence: null }, call());
    await until(() => wakes === 1);
    await subscription.close();
    await backend.close();
    expect(client.status).toBe("wait");
    client.disconnect();
  });

  test("one round trip an operation, for 500 renewals too", async () => {
    await using proxy = await startDisposableProxy(server.url);
    const backend = redisStreamsBackend({ url: proxy.url });
    const namespace = freshNamespace();
    const names = Array.from({ length: 500 }, (_, i) => ({ namespace, key: `l\u001f${i}` }));
    const requests = names.map((name) => attempt(name, { payload: "x".repeat(200) }));
    const grants = await Promise.all(requests.map((request) => backend.acquire(request, call())));
    const renewals = requests.map(({ name, grantId, ttlMs }, i) => {
      const grant = grants[i];
      return { name, grantId, ttlMs, fence: grant?.outcome === "granted" ? grant.fence : 0n };
    });
    const [{ name } = { name: { namespace, key: "" } }] = renewals;
    // Twice: at the first time the server learns each script.
    const operations: Record<string, () => Promise<unknown>> = {
      "a refused acquire, with the record": () =>
        backend.acquire(attempt(name, { withPayload: true }), call()),
      "an inspect": () => backend.inspect(name, call()),
      "500 renewals": () => backend.renew(renewals, call()),
      "a page": () => backend.list({ namespace, prefix: "", limit: 100 }, call()),
      "a release": () => backend.release({ ...(requests.pop() ?? attempt(name)), fence: null }, call()),
      "an acquire": () => backend.acquire(attempt({ namespace, key: freshId() }), call()),
    };
    const trips: Record<string, number> = {};
    for (const operation of Object.values(operations)) await operation();
    for (const [title, operation] of Object.entries(operations)) {
      const before = proxy.roundTrips;
      await operation();
      trips[title] = proxy.roundTrips - before;
    }
    expect(trips).toEqual(Object.fromEntries(Object.keys(operations).map((title) => [title, 1])));
    await backend.close();
  });

  test("one lost lease in a batch of a thousand is told apart, also when one is named twice", async () => {
    const namespace = freshNamespace();
    const requests = Array.from({ length: 1000 }, (_, i) => attempt({ namespace, key: `l\u001f${i}` }));
    const answers = await Promise.all(requests.map((request) => one.acquire(request, call())));
    const renewals = requests.map(({ name, grantId, ttlMs }, i) => {
      const answer = answers[i];
      const fence = answer?.outcome === "granted" ? answer.fence : 0n;
      const stored = i % 100 === 5 ? { payload: `saved ${i}`, payloadSeq: 1 } : {};
      return { name, grantId, ttlMs, fence: i === 700 ? fence + 1n : fence, ...stored };
    });
    const outcomes = await two.renew([...renewals, ...renewals.slice(0, 1)], call());
    expect(outcomes.indexOf("lost")).toBe(700);
    expect(outcomes.filter((outcome) => outcome === "renewed")).toHaveLength(1000);
    const saved = await one.inspect({ namespace, key: "l\u001f105" }, call());
    expect(saved).toMatchObject({ payload: "saved 105", payloadSeq: 1 });
  });
});

const noCluster = await whyMissing("redis", { cluster: 3 });

describe.skipIf(noCluster !== undefined)(
  `steps on a cluster${noCluster ? `: ${noCluster}` : ""}`,
  { timeout: 60_000 },
  () => {
    test("names spread over the nodes, batches and pages reach all of them", async () => {
      await using cluster = await startCluster();
      const backend = redisStreamsBackend({ url: cluster.clusterUrl });
      try {
        const namespace = freshNamespace();
        const requests = Array.from({ length: 300 }, (_, i) => attempt({ namespace, key: `l\u001f${i}` }));
        const answers = await Promise.all(requests.map((request) => backend.acquire(request, call())));
        const renewals = requests.map((request, i) => {
          const answer = answers[i];
          return { ...request, payload: undefined, fence: answer?.outcome === "granted" ? answer.fence : 0n };
        });
        expect(new Set(await backend.renew(renewals, call()))).toEqual(new Set(["renewed"]));
        const page = await backend.list({ namespace, prefix: "", limit: 1000 }, call());
        expect(page).toHaveLength(300);
        const sizes = await Promise.all(cluster.admin.nodes("master").map((node) => node.dbsize()));
        expect(sizes.every((size) => size > 0)).toBe(true);
        expect((await backend.diagnose(call())).findings.filter(({ level }) => level === "error")).toEqual(
          [],
        );
        const listed = `on >pw ${leastPrivilege} +cluster|slots +cluster|info`.split(" ");
        for (const node of cluster.admin.nodes("master"))
          await node.call("acl", "setuser", "least", ...listed);
        const least = redisStreamsBackend({ url: cluster.clusterUrl.replace("//", "//least:pw@") });
        expect(await least.list({ namespace, prefix: "", limit: 1000 }, call())).toHaveLength(300);
        await (await least.watch({ namespace, key: "l\u001f1" }, () => {}, call())).close();
        await least.close();
        await expect(
          redisStreamsBackend({ url: cluster.url }).acquire(attempt({ namespace, key: "l\u001f1" }), call()),
        ).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
      } finally {
        await backend.close();
      }
    });

    test("a slot that moves takes its leases and waiters along", async () => {
      await using cluster = await startCluster();
      const [holder, waiter] = [1, 2].map(() =>
        redisStreamsBackend({ url: cluster.clusterUrl, partitions: 1 }),
      );
      if (holder === undefined || waiter === undefined) throw new Error("two backends");
      try {
        const name = { namespace: freshNamespace(), key: "l\u001fname" };
        const request = attempt(name);
        const granted = await holder.acquire(request, call());
        let wakes = 0;
        const subscription = await waiter.watch(name, () => wakes++, call());
        await moveSlot(cluster.admin, slotOfKey(partition(name.namespace, 0).names));
        await until(() => wakes > 0); // the blocked reader was told that its slot is gone
        await until(() => subscription.live);
        const before = wakes;
        const fence = granted.outcome === "granted" ? granted.fence : 0n;
        expect(await holder.renew([{ ...request, payload: undefined, fence }], call())).toEqual(["renewed"]);
        expect(await holder.release({ ...request, fence }, call())).toEqual({ outcome: "released" });
        expect(await until(() => wakes > before)).toBe(true);
      } finally {
        await Promise.all([holder.close(), waiter.close()]);
      }
    });
  },
);
