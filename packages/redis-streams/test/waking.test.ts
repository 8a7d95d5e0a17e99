import { whyMissing } from "@coord/test-fixtures";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Name } from "@coord/core";
import { type RedisStreamsBackend, redisStreamsBackend } from "../src/index.ts";
import { attempt, call, freshNamespace } from "./call.ts";
import { startCluster, startDisposableProxy, startRedis, until } from "./server.ts";

const missing = await whyMissing("redis");

type Running = Awaited<ReturnType<typeof startRedis>>;

/** A watch that counts. */
async function listen(backend: RedisStreamsBackend, name: Name) {
  let wakes = 0;
  const subscription = await backend.watch(name, () => wakes++, call());
  return {
    get wakes() {
      return wakes;
    },
    get live() {
      return subscription.live;
    },
    close: () => subscription.close(),
  };
}

async function hold(backend: RedisStreamsBackend, name: Name) {
  const request = attempt(name);
  const granted = await backend.acquire(request, call());
  if (granted.outcome !== "granted") throw new Error(`refused: ${granted.reason}`);
  return {
    release: (sealed = false) =>
      backend.release(
        { name, grantId: request.grantId, fence: granted.fence, sealed, retainMs: 60_000 },
        call(),
      ),
  };
}

/** Wake-ups overtake nobody on one server: what this answers after was sent before. */
async function settled(backend: RedisStreamsBackend, namespace: string): Promise<void> {
  const probe = { namespace, key: "settled" };
  const listening = await listen(backend, probe);
  await (await hold(backend, probe)).release();
  await until(() => listening.wakes > 0);
  await listening.close();
}

describe.skipIf(missing !== undefined)(`waking${missing ? `: ${missing}` : ""}`, { timeout: 60_000 }, () => {
  let server: Running;
  let namespace: string;
  const open: RedisStreamsBackend[] = [];
  const backend = (url = server.url): RedisStreamsBackend => {
    const made = redisStreamsBackend({ url });
    open.push(made);
    return made;
  };

  beforeAll(async () => {
    server = await startRedis();
    return async () => {
      await server[Symbol.asyncDispose]();
    };
  }, 60_000);

  async function fresh(): Promise<Name> {
    await Promise.all(open.splice(0).map((made) => made.close()));
    namespace = freshNamespace();
    return { namespace, key: "l\u001finvoice {42}" };
  }

  afterAll(() => Promise.all(open.map((made) => made.close())));

  test("a release wakes one of the processes that wait, in turn", async () => {
    const name = await fresh();
    const holder = backend();
    const waiters: Awaited<ReturnType<typeof listen>>[] = [];
    for (let i = 0; i < 3; i++) waiters.push(await listen(backend(), name));
    for (let round = 1; round <= 2; round++) {
      for (let turn = 0; turn < 3; turn++) {
        const expected = waiters.map((_, i) => round - (i <= turn ? 0 : 1));
        await (await hold(holder, name)).release();
        await until(() => (waiters[turn]?.wakes ?? 0) === round);
        expect(waiters.map(({ wakes }) => wakes)).toEqual(expected);
      }
    }
  });

  test("watchers of one process take turns too, and one that leaves unused hands its turn on", async () => {
    const name = await fresh();
    const [holder, process] = [backend(), backend()];
    const first = await listen(process, name);
    const second = await listen(process, name);
    await (await hold(holder, name)).release();
    await until(() => first.wakes === 1);
    expect(second.wakes).toBe(0);
    await first.close();
    await until(() => second.wakes === 1);
  });

  test("a watcher that tried the name has used its turn", async () => {
    const name = await fresh();
    const [holder, process] = [backend(), backend()];
    const first = await listen(process, name);
    const second = await listen(process, name);
    await (await hold(holder, name)).release();
    await until(() => first.wakes === 1);
    const mine = await hold(process, name);
    await first.close();
    await settled(process, namespace);
    expect(second.wakes).toBe(0);
    await mine.release();
    await until(() => second.wakes === 1);
  });

  test("a process that leaves the line while the name is free passes the turn to the next", async () => {
    const name = await fresh();
    const holder = backend();
    const first = await listen(backend(), name);
    const second = await listen(backend(), name);
    await (await hold(holder, name)).release();
    await until(() => first.wakes === 1);
    await first.close();
    expect(await until(() => second.wakes === 1)).toBe(true);
  });

  test("a process that leaves while the name is held wakes nobody", async () => {
    const name = await fresh();
    const [holder, other] = [backend(), backend()];
    const lease = await hold(holder, name);
    const first = await listen(backend(), name);
    const second = await listen(other, name);
    await first.close();
    await settled(other, namespace);
    expect(second.wakes).toBe(0);
    await lease.release();
    await until(() => second.wakes === 1);
  });

  test("sealing wakes everybody, as everybody may read the outcome", async () => {
    const name = await fresh();
    const holder = backend();
    const waiters = [await listen(backend(), name), await listen(backend(), name)];
    await (await hold(holder, name)).release(true);
    expect(await until(() => waiters.every(({ wakes }) => wakes === 1))).toBe(true);
  });

  test("an overrule that frees the name wakes one", async () => {
    const name = await fresh();
    const holder = backend();
    await hold(holder, name);
    const waiter = await listen(backend(), name);
    const fence = (await holder.inspect(name, call()))?.fence ?? 0n;
    const overrule = { name, grantId: "operator", fence, released: false, sealed: false, retainMs: 60_000 };
    await holder.overrule({ ...overrule, now: true }, call());
    expect(await until(() => waiter.wakes === 1)).toBe(true);
  });

  test("a dead process is passed over", async () => {
    const name = await fresh();
    const holder = backend();
    await listen(backend(), name);
    const second = await listen(backend(), name);
    const [dead] = await server.admin.zrange(`coord:{${namespace}:0}:w:${name.key}`, "0", "0");
    await server.admin.del(`coord:{${namespace}:0}:r:${dead ?? ""}`);
    await (await hold(holder, name)).release();
    expect(await until(() => second.wakes === 1)).toBe(true);
  });

  test("names that look like others wake their own waiters only", async () => {
    await fresh();
    const [holder, process] = [backend(), backend()];
    const keys = ["a", "a ", "A", "}:w:a", "k", "l:a", "a\u001fa"];
    const waiters = await Promise.all(keys.map((key) => listen(process, { namespace, key })));
    for (const [i, key] of keys.entries()) {
      await (await hold(holder, { namespace, key })).release();
      await until(() => waiters[i]?.wakes === 1);
      expect(waiters.map(({ wakes }) => wakes)).toEqual(keys.map((_, j) => (j <= i ? 1 : 0)));
    }
  });

  test("a stream that was trimmed past the reader wakes every name, for any may have been among them", async () => {
    const name = await fresh();
    const process = backend();
    const other = await listen(process, { namespace, key: "other" });
    const waiter = await listen(process, name);
    const [stream = ""] = await server.admin.keys(`coord:{${namespace}:0}:r:*`);
    await server.admin.multi().xadd(stream, "0-7", "k", name.key).exec();
    expect(await until(() => waiter.wakes >= 1 && other.wakes >= 1)).toBe(true);
  });

  test("a connection that drops tells its watchers, comes back by itself and loses no release", async () => {
    const name = await fresh();
    const holder = backend();
    await using proxy = await startDisposableProxy(server.url);
    const waiter = await listen(backend(proxy.url), name);
    await proxy.refuse();
    await until(() => !waiter.live && waiter.wakes === 1);
    await (await hold(holder, name)).release();
    await proxy.heal();
    await until(() => waiter.live && waiter.wakes >= 2);
    const before = waiter.wakes;
    await (await hold(holder, name)).release();
    expect(await until(() => waiter.wakes > before)).toBe(true);
  });

  test("a stream that is deleted is made anew after a drop, and wakes again", async () => {
    await using own = await startRedis({ settings: {} });
    const name = await fresh();
    const [holder, process] = [backend(own.url), backend(own.url)];
    const waiter = await listen(process, name);
    await (await hold(holder, name)).release();
    await until(() => waiter.wakes === 1);
    await own.admin.flushall();
    await own.admin.call("client", "KILL", "TYPE", "normal", "SKIPME", "yes");
    await until(() => !waiter.live);
    await until(() => waiter.live);
    const before = waiter.wakes;
    await (await hold(holder, name)).release();
    expect(await until(() => waiter.wakes > before)).toBe(true);
    await Promise.all([holder.close(), process.close()]);
  });

  test("a subscription to a second name finds a lost stream and restarts it", async () => {
    const name = await fresh();
    const [holder, process] = [backend(), backend()];
    const waiter = await listen(process, name);
    for (let i = 0; i < 3; i++) {
      await (await hold(holder, name)).release();
      await until(() => waiter.wakes === i + 1);
    }
    const [stream = ""] = await server.admin.keys(`coord:{${namespace}:0}:r:*`);
    await server.admin.del(stream);
    await listen(process, { namespace, key: "second" });
    await until(() => waiter.live && waiter.wakes >= 4);
    const before = waiter.wakes;
    await (await hold(holder, name)).release();
    expect(await until(() => waiter.wakes > before)).toBe(true);
  });

  test("an idle subscription sends less than one command in two seconds", async () => {
    const name = await fresh();
    await using proxy = await startDisposableProxy(server.url);
    const waiter = await listen(backend(proxy.url), name);
    await until(() => waiter.live);
    const before = proxy.roundTrips;
    await new Promise((resolve) => setTimeout(resolve, 6000)); // what is counted is what happens in a span of time
    expect(proxy.roundTrips - before).toBeLessThan(3);
  });

  test("close leaves the line, and no stream behind", async () => {
    const name = await fresh();
    const holder = backend();
    const gone = backend();
    const waiter = await listen(gone, name);
    await gone.close();
    expect(waiter.live).toBe(false);
    await (await hold(holder, name)).release();
    expect((await server.admin.keys(`coord:{${namespace}:*`)).toSorted()).toEqual([
      `coord:{${namespace}:0}:idx`,
      `coord:{${namespace}:0}:l:${name.key}`,
      `coord:{${namespace}:meta}`,
    ]);
  });

  test("a watch that can't be had in time rejects, and leaves nobody waiting", async () => {
    const name = await fresh();
    await using proxy = await startDisposableProxy(server.url);
    const cut = backend(proxy.url);
    await cut.inspect(name, call());
    proxy.stall();
    await expect(cut.watch(name, () => {}, call(300))).rejects.toMatchObject({ code: "COORD_UNAVAILABLE" });
    await proxy.heal();
    await until(async () => (await server.admin.exists(`coord:{${namespace}:0}:w:${name.key}`)) === 0);
  });
});

const noCluster = await whyMissing("redis", { cluster: 3 });

describe.skipIf(noCluster !== undefined)(
  `waking on a cluster${noCluster ? `: ${noCluster}` : ""}`,
  { timeout: 60_000 },
  () => {
    test("each partition's reader listens at its own master, and follows a node that restarts", async () => {
      await using cluster = await startCluster();
      const holder = redisStreamsBackend({ url: cluster.clusterUrl });
      const process = redisStreamsBackend({ url: cluster.clusterUrl });
      try {
        const names = Array.from({ length: 24 }, (_, i) => ({ namespace: "jobs", key: `l\u001f${i}` }));
        const waiters = await Promise.all(names.map((name) => listen(process, name)));
        for (const [i, name] of names.entries()) {
          await (await hold(holder, name)).release();
          await until(() => waiters[i]?.wakes === 1);
        }
        const [node] = cluster.nodes ?? [];
        await node?.faults?.restart();
        await until(() => waiters.some(({ wakes }) => wakes > 1)); // told of the drop
        await until(() => waiters.every(({ live }) => live));
        const before = waiters.map(({ wakes }) => wakes);
        for (const [i, name] of names.entries()) {
          await until(() =>
            hold(holder, name).then(
              async (lease) => (await lease.release()).outcome === "released",
              () => false, // the node that was restarted is just coming back
            ),
          );
          expect(await until(() => (waiters[i]?.wakes ?? 0) > (before[i] ?? 0))).toBe(true);
        }
      } finally {
        await Promise.all([holder.close(), process.close()]);
      }
    });
  },
);
