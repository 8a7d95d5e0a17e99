import { spawn } from "node:child_process";
import { type Backend, isCoordError, type Name } from "@coord/core";
import { type Proxy, startProxy } from "@coord/test-fixtures";
import { MongoClient } from "mongodb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mongodbBackend } from "../src/index.ts";
import { codeOf, errorOf, freshId, freshNamespace, within } from "./calls.ts";
import { directUrl } from "./harness.ts";
import { missing, useStore } from "./store.ts";

const namespace = freshNamespace();
let count = 0;
const freshName = (): Name => ({ namespace, key: `l\u001ffault ${(count += 1)}` });
const attempt = (name: Name) => ({
  name,
  grantId: freshId(),
  holder: "fault",
  ttlMs: 60_000,
  sealed: false,
  retainMs: 60_000,
});

async function granted(backend: Backend, request: ReturnType<typeof attempt>): Promise<bigint> {
  const answer = await backend.acquire(request, within());
  if (answer.outcome !== "granted") throw new Error(`refused: ${answer.reason}`);
  return answer.fence;
}

/** Repeats the same request while its outcome is unknown, as core does. */
async function resolved<T>(call: () => Promise<T>): Promise<T> {
  const endMs = performance.now() + 20_000;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isCoordError(error, "COORD_UNAVAILABLE") || performance.now() > endMs) throw error;
    }
  }
}

describe.skipIf(missing)("faults", () => {
  const store = useStore();
  let proxy: Proxy;
  let backend: Backend;
  beforeAll(async () => {
    if (missing !== undefined) return;
    proxy = await startProxy(store().server.url);
    backend = mongodbBackend({ url: directUrl(proxy.url) });
    await backend.setup(within());
    await backend.inspect(freshName(), within());
  });
  afterAll(async () => {
    await backend?.close();
    await proxy?.stop();
  });
  /** Requests of the driver's monitors, which run beside ours, are left alone. */
  const isCommand = (verb: string) => (chunk: Buffer) => chunk.includes(verb);

  test("a swallowed reply is unknown, and the repeat answers what was done", async () => {
    const request = attempt(freshName());
    proxy.swallowReply({ match: isCommand("findAndModify") });
    expect(await codeOf(backend.acquire(request, within()))).toBe("COORD_UNAVAILABLE");
    const stored = await resolved(() => backend.inspect(request.name, within()));
    expect(stored?.grantId).toBe(request.grantId);
    expect(await granted(backend, request)).toBe(stored?.fence);

    const { name, grantId } = request;
    const fence = stored?.fence ?? 0n;
    const renewal = [{ name, grantId, fence, ttlMs: 90_000 }];
    proxy.swallowReply({ match: isCommand("update") });
    expect(await codeOf(backend.renew(renewal, within()))).toBe("COORD_UNAVAILABLE");
    expect(await resolved(() => backend.renew(renewal, within()))).toEqual(["renewed"]);

    const end = { name, grantId, fence, sealed: false, retainMs: 60_000, payload: "first" };
    proxy.swallowReply({ match: isCommand("findAndModify") });
    expect(await codeOf(backend.release(end, within()))).toBe("COORD_UNAVAILABLE");
    const repeat = await resolved(() => backend.release({ ...end, payload: "second" }, within()));
    expect(repeat).toMatchObject({ outcome: "released", record: { payload: "first", state: "free" } });

    const overrule = { name, grantId: freshId(), fence, released: true, sealed: false, retainMs: 60_000 };
    proxy.swallowReply({ match: isCommand("findAndModify") });
    expect(await codeOf(backend.overrule(overrule, within()))).toBe("COORD_UNAVAILABLE");
    const overruled = await resolved(() => backend.inspect(name, within()));
    expect(overruled?.fence).toBeGreaterThan(fence);
    const again = await resolved(() => backend.overrule(overrule, within()));
    expect(again).toEqual({ outcome: "overruled", fence: overruled?.fence });
  });

  test("cut connections are unknown once and good again afterwards", async () => {
    const request = attempt(freshName());
    await granted(backend, request);
    proxy.cut();
    expect(await resolved(() => backend.inspect(request.name, within()))).toMatchObject({ state: "held" });
  });

  test("a server that does not answer is unknown within the caller's time, also when the caller aborts", async () => {
    const request = attempt(freshName());
    proxy.stall();
    try {
      const startedMs = performance.now();
      expect(await codeOf(backend.acquire(request, within(300)))).toBe("COORD_UNAVAILABLE");
      expect(performance.now() - startedMs).toBeLessThan(3000);
      const controller = new AbortController();
      const waiting = codeOf(backend.inspect(request.name, { signal: controller.signal, timeoutMs: 30_000 }));
      controller.abort();
      expect(await waiting).toBe("COORD_UNAVAILABLE");
      expect(
        await errorOf(backend.inspect(request.name, { signal: controller.signal, timeoutMs: 1000 })),
      ).toMatchObject({
        code: "COORD_UNAVAILABLE",
        notDone: true,
      });
    } finally {
      await proxy.heal();
    }
    await resolved(() => backend.inspect(request.name, within()));
  });

  test("a closed port is unknown within the caller's time", async () => {
    await proxy.refuse();
    try {
      const startedMs = performance.now();
      expect(await codeOf(backend.acquire(attempt(freshName()), within(3000)))).toBe("COORD_UNAVAILABLE");
      expect(performance.now() - startedMs).toBeLessThan(6000);
    } finally {
      await proxy.heal();
    }
    await resolved(() => backend.inspect(freshName(), within()));
  });

  test(
    "a grant outlives kill -9 of the server, whose clients come back by themselves",
    { timeout: 60_000 },
    async ({ skip }) => {
      const { faults } = store().server;
      if (faults === undefined) {
        skip("the server from the environment is not ours to kill");
        return;
      }
      const request = attempt(freshName());
      const fence = await granted(backend, request);
      await faults.kill();
      expect(await codeOf(backend.inspect(request.name, within(3000)))).toBe("COORD_UNAVAILABLE");
      await faults.restart();
      const { name, grantId } = request;
      expect(
        await resolved(() => backend.renew([{ name, grantId, fence, ttlMs: 90_000 }], within())),
      ).toEqual(["renewed"]);
    },
  );

  test("each operation costs one round trip, a batch of 100 too, and a mixed batch one more", async () => {
    // Its monitor keeps quiet meanwhile.
    const quiet = { heartbeatFrequencyMS: 600_000, serverMonitoringMode: "poll" as const };
    const client = new MongoClient(directUrl(proxy.url), quiet);
    const counted = mongodbBackend({ client });
    await counted.inspect(freshName(), within());
    const costs: Record<string, number> = {};
    const cost = async (what: string, call: () => Promise<unknown>): Promise<void> => {
      const before = proxy.roundTrips;
      await call();
      costs[what] = proxy.roundTrips - before;
    };
    const requests = Array.from({ length: 100 }, () => attempt(freshName()));
    const fences = await Promise.all(requests.map((request) => granted(counted, request)));
    const renewals = requests.map(({ name, grantId }, index) => ({
      name,
      grantId,
      fence: fences[index] ?? 0n,
      ttlMs: 90_000,
    }));
    const lost = { name: freshName(), grantId: freshId(), fence: 1n, ttlMs: 60_000 };
    const request = attempt(freshName());
    const { name, grantId } = request;
    await cost("acquire", () => counted.acquire(request, within()));
    await cost("refused acquire", () => counted.acquire(attempt(name), within()));
    await cost("renew 100", () => counted.renew(renewals, within()));
    await cost("renew 101, one lost", () => counted.renew([...renewals, lost], within()));
    await cost("inspect", () => counted.inspect(name, within()));
    await cost("list", () => counted.list({ namespace, prefix: "", limit: 100 }, within()));
    await cost("release", () =>
      counted.release({ name, grantId, fence: null, sealed: false, retainMs: 1 }, within()),
    );
    const overrule = {
      name: freshName(),
      grantId: freshId(),
      fence: 0n,
      released: false,
      sealed: false,
      retainMs: 1,
    };
    await cost("overrule", () => counted.overrule(overrule, within()));
    await client.close();
    expect(costs).toEqual({
      acquire: 1,
      "refused acquire": 1,
      "renew 100": 1,
      "renew 101, one lost": 2,
      inspect: 1,
      list: 1,
      release: 1,
      overrule: 1,
    });
  });

  test("a passed client is neither closed nor changed, and its own settings do not reach the records", async () => {
    const client = new MongoClient(store().server.url, {
      promoteLongs: false,
      promoteValues: false,
      raw: true,
      ignoreUndefined: true,
      retryWrites: false,
    });
    const passed = mongodbBackend({ client });
    const request = attempt(freshName());
    const fence = await granted(passed, request);
    expect(await passed.inspect(request.name, within())).toMatchObject({
      fence,
      sealed: false,
      payloadSeq: 0,
    });
    const { name, grantId } = request;
    expect(await passed.renew([{ name, grantId, fence, ttlMs: 90_000 }], within())).toEqual(["renewed"]);
    const lost = { name, grantId: freshId(), fence, ttlMs: 90_000 };
    expect(await passed.renew([{ name, grantId, fence, ttlMs: 90_000 }, lost], within())).toEqual([
      "renewed",
      "lost",
    ]);
    expect(await passed.list({ namespace, prefix: name.key, limit: 1 }, within())).toHaveLength(1);
    await passed.diagnose(within());
    await passed.close();
    expect(await client.db().command({ ping: 1 })).toBeDefined();
    await client.close();
  });

  test("nothing keeps a process alive after close", { timeout: 30_000 }, async () => {
    const source = `
      import { mongodbBackend } from "@coord/mongodb";
      const options = { signal: new AbortController().signal, timeoutMs: 10000 };
      const backend = mongodbBackend({ url: process.argv[1] });
      await backend.inspect({ namespace: "${namespace}", key: "x" }, options);
      await backend.watch({ namespace: "${namespace}", key: "x" }, () => {}, options).catch(() => {});
      await backend.close();
      console.log("closed");
    `;
    const child = spawn(
      process.execPath,
      ["--conditions=source", "--import", "tsx", "--input-type=module", "-e", source, store().server.url],
      { cwd: import.meta.dirname, stdio: ["ignore", "pipe", "inherit"], timeout: 25_000 },
    );
    let said = "";
    child.stdout.on("data", (chunk) => (said += String(chunk)));
    const [code] = await new Promise<[number | null]>((resolve) =>
      child.on("close", (status) => resolve([status])),
    );
    expect(said.trim()).toBe("closed");
    expect(code).toBe(0);
  });
});
