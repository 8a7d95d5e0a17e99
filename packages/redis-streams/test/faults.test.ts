import { execFile } from "node:child_process";
import { inspect, promisify } from "node:util";
import { whyMissing } from "@coord/test-fixtures";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { redisStreamsBackend } from "../src/index.ts";
import { attempt, call, freshNamespace } from "./call.ts";
import { leastPrivilege } from "./harness.ts";
import { startDisposableProxy, startRedis, until } from "./server.ts";

const missing = await whyMissing("redis");
const unknown = { code: "COORD_UNAVAILABLE", notDone: false };
const notDone = { code: "COORD_UNAVAILABLE", notDone: true };

describe.skipIf(missing !== undefined)(`faults${missing ? `: ${missing}` : ""}`, { timeout: 60_000 }, () => {
  let server: Awaited<ReturnType<typeof startRedis>>;
  beforeAll(async () => {
    server = await startRedis({ settings: {} }); // scripts are flushed
  }, 60_000);
  afterAll(() => server[Symbol.asyncDispose]());

  const open = (url: string, options: { minReplicas?: number; partitions?: number } = {}) => {
    const backend = redisStreamsBackend({ url, ...options });
    return Object.assign(backend, { [Symbol.asyncDispose]: () => backend.close() });
  };
  const freshName = () => ({ namespace: freshNamespace(), key: "l\u001fname" });

  test("an acquire whose reply is lost is unknown, is not sent again, and its repeat gets the same fence", async () => {
    await using proxy = await startDisposableProxy(server.url);
    await using backend = open(proxy.url);
    const name = freshName();
    await backend.acquire(attempt(freshName()), call()); // the server knows the script
    await backend.inspect(name, call());
    const request = attempt(name);
    const { done } = proxy.swallowReply({ match: (chunk) => chunk.includes(request.grantId) });
    await expect(backend.acquire(request, call())).rejects.toMatchObject(unknown);
    await done;
    await using other = open(server.url);
    await until(async () => (await other.inspect(name, call())) !== null);
    const stands = await other.inspect(name, call());
    expect(await backend.acquire(request, call())).toMatchObject({
      outcome: "granted",
      fence: stands?.fence,
    });
  });

  test("a step that nobody answers ends in its time, and a socket that stays silent is replaced", async () => {
    await using proxy = await startDisposableProxy(server.url);
    await using backend = open(proxy.url);
    const name = freshName();
    await backend.inspect(name, call());
    proxy.swallowReply({ ending: "silence" });
    const began = performance.now();
    await expect(backend.inspect(name, call(200))).rejects.toMatchObject(unknown);
    expect(performance.now() - began).toBeLessThan(3000);
    expect(
      await until(() =>
        backend.inspect(name, call(500)).then(
          () => true,
          () => false,
        ),
      ),
    ).toBe(true);
  });

  test("an aborted call stops waiting at once", async () => {
    await using proxy = await startDisposableProxy(server.url);
    await using backend = open(proxy.url);
    const name = freshName();
    await backend.inspect(name, call());
    const { done } = proxy.swallowReply({ ending: "silence" });
    const abort = new AbortController();
    const pending = backend.inspect(name, { signal: abort.signal, timeoutMs: 60_000 });
    await done;
    abort.abort(new Error("enough"));
    await expect(pending).rejects.toMatchObject({ ...unknown, cause: { message: "enough" } });
    const late = backend.inspect(name, { signal: abort.signal, timeoutMs: 60_000 });
    await expect(late).rejects.toMatchObject({ ...notDone, cause: { message: "enough" } });
  });

  test("a server that is down is never free and never held; nothing was sent, and it is found again", async () => {
    await using own = await startRedis({ settings: {} });
    await using backend = open(own.url);
    const request = attempt(freshName());
    await backend.acquire(request, call());
    await own.faults?.kill();
    await until(() =>
      backend.inspect(request.name, call()).then(
        () => false,
        (error: unknown) => inspect(error).includes("notDone: true"),
      ),
    );
    await expect(backend.acquire(attempt(request.name), call())).rejects.toMatchObject(notDone);
    await own.faults?.restart();
    await until(() =>
      backend.inspect(request.name, call()).then(
        () => true,
        () => false,
      ),
    );
    expect(await backend.acquire(request, call())).toMatchObject({ outcome: "granted" });
  });

  test("a paused server makes steps unknown in their time, and answers again when it runs", async () => {
    await using own = await startRedis({ settings: {} });
    await using backend = open(own.url);
    const request = attempt(freshName());
    await backend.acquire(request, call());
    await own.faults?.pause();
    const began = performance.now();
    await expect(backend.acquire(attempt(request.name), call(300))).rejects.toMatchObject(unknown);
    expect(performance.now() - began).toBeLessThan(3000);
    await own.faults?.resume();
    expect(await backend.inspect(request.name, call())).toMatchObject({ grantId: request.grantId });
  });

  test("scripts that the server forgot are sent again, in the same call", async () => {
    await using backend = open(server.url);
    for (let i = 0; i < 20; i++) {
      const request = attempt(freshName());
      await server.admin.script("FLUSH");
      expect(await backend.acquire(request, call())).toMatchObject({ outcome: "granted" });
      await server.admin.script("FLUSH");
      expect(await backend.release({ ...request, fence: null }, call())).toEqual({ outcome: "released" });
    }
  });

  test("a wrong password is told with its remedy, and no password is", async () => {
    await using own = await startRedis({ settings: {} });
    await own.admin.config("SET", "requirepass", "right");
    await using wrong = open(own.url.replace("//", "//:hunter2@"));
    const refused = await wrong.inspect(freshName(), call()).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "COORD_CONFIGURATION" });
    expect(inspect(refused, { depth: 10, showHidden: true })).not.toContain("hunter2");
    await using none = open(own.url);
    await expect(none.inspect(freshName(), call())).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
    await using right = open(own.url.replace("//", "//:right@"));
    expect(await right.inspect(freshName(), call())).toBeNull();
  });

  test("a user without permissions is told which page lists them; the listed ones suffice", async () => {
    await using own = await startRedis({ settings: {} });
    const common = ["on", ">pw", "~coord:{*", "-@all"];
    await own.admin.call("acl", "setuser", "weak", ...common, "+info", "+ping");
    await own.admin.call("acl", "setuser", "able", ...common, ...leastPrivilege.split(" "));
    await using weak = open(own.url.replace("//", "//weak:pw@"));
    await expect(weak.acquire(attempt(freshName()), call())).rejects.toMatchObject({
      code: "COORD_CONFIGURATION",
      message: expect.stringContaining("lacks a permission"),
    });
    await using able = open(own.url.replace("//", "//able:pw@"));
    const request = attempt(freshName());
    let wakes = 0;
    await able.setup(call());
    const subscription = await able.watch(request.name, () => wakes++, call());
    const granted = await able.acquire(request, call());
    const fence = granted.outcome === "granted" ? granted.fence : 0n;
    expect(await able.renew([{ ...request, payload: undefined, fence }], call())).toEqual(["renewed"]);
    await able.release({ ...request, fence }, call());
    await until(() => wakes === 1);
    await subscription.close();
    const overruled = { ...request, grantId: "operator", fence, released: true };
    expect(await able.overrule(overruled, call())).toMatchObject({ outcome: "overruled" });
    expect(await able.list({ ...request.name, prefix: "", limit: 5 }, call())).toHaveLength(1);
    expect((await able.diagnose(call())).findings.filter(({ level }) => level === "error")).toEqual([]);
  });

  test.each(["allkeys-lru", "volatile-ttl"])(
    "a server that may evict (%s) is refused with the remedy",
    async (policy) => {
      await using own = await startRedis({ settings: { "maxmemory-policy": policy } });
      await using backend = open(own.url);
      const refusal = {
        code: "COORD_CONFIGURATION",
        message: expect.stringMatching(new RegExp(`${policy}.*CONFIG SET maxmemory-policy noeviction`)),
      };
      await expect(backend.setup(call())).rejects.toMatchObject(refusal);
      await expect(backend.acquire(attempt(freshName()), call())).rejects.toMatchObject(refusal);
      const { findings } = await backend.diagnose(call());
      expect(findings.find(({ level }) => level === "error")?.message).toContain(policy);
      await own.admin.config("SET", "maxmemory-policy", "noeviction");
      await backend.setup(call());
    },
  );

  test("holders keep their leases when memory is full; only new ones are refused", async () => {
    await using own = await startRedis({ settings: {} });
    await using backend = open(own.url);
    const request = attempt(freshName());
    const granted = await backend.acquire(request, call());
    const fence = granted.outcome === "granted" ? granted.fence : 0n;
    await own.admin.config("SET", "maxmemory", "1");
    await expect(backend.acquire(attempt(freshName()), call())).rejects.toMatchObject(notDone);
    expect(await backend.renew([{ ...request, payload: undefined, fence }], call())).toEqual(["renewed"]);
    expect(await backend.release({ ...request, fence }, call())).toEqual({ outcome: "released" });
  });

  test("another number of partitions in the same namespace is refused, from the first step on", async () => {
    await using first = open(server.url);
    await using second = open(server.url, { partitions: 8 });
    const name = freshName();
    await first.inspect(name, call());
    await expect(second.acquire(attempt(name), call())).rejects.toMatchObject({
      code: "COORD_CONFIGURATION",
      message: expect.stringContaining("set partitions: 1"),
    });
    expect(await second.inspect(freshName(), call())).toBeNull();
  });

  test("a replica is refused, and a step is confirmed when enough replicas have it", async () => {
    await using master = await startRedis({ settings: { "repl-diskless-sync-delay": "0" } });
    await using replica = await startRedis({ settings: {} });
    const { port } = new URL(master.url);
    await replica.admin.replicaof("127.0.0.1", port);
    await until(async () => (await replica.admin.info("replication")).includes("master_link_status:up"));
    await using onReplica = open(replica.url);
    await expect(onReplica.acquire(attempt(freshName()), call())).rejects.toMatchObject(notDone);
    await using one = open(master.url, { minReplicas: 1 });
    const request = attempt(freshName());
    expect(await one.acquire(request, call())).toMatchObject({ outcome: "granted" });
    await using two = open(master.url, { minReplicas: 2 });
    await expect(two.acquire(attempt(freshName()), call(500))).rejects.toMatchObject(unknown);
    expect(await two.acquire(attempt(request.name), call())).toMatchObject({ outcome: "refused" });
    // A repeat writes nothing, and must still not be confirmed by replicas that may not have the first.
    await replica.faults?.pause();
    await expect(one.release({ ...request, fence: null }, call(500))).rejects.toMatchObject(unknown);
    await expect(one.release({ ...request, fence: null }, call(500))).rejects.toMatchObject(unknown);
    await replica.faults?.resume();
    expect(await one.release({ ...request, fence: null }, call())).toMatchObject({ outcome: "released" });
    const { findings } = await two.diagnose(call());
    expect(findings.find(({ level }) => level === "error")?.message).toContain("minReplicas is 2");
  });

  test("diagnose tells the version, the role, durability and the server's clock", async () => {
    await using backend = open(server.url);
    const { findings, clock } = await backend.diagnose(call());
    expect(findings.map(({ level }) => level)).toEqual(findings.map(() => "ok"));
    expect(findings.map(({ message }) => message).join()).toMatch(
      /Redis \d.*noeviction.*master.*append-only/,
    );
    expect(Math.abs(clock.storeMs - clock.beforeMs)).toBeLessThan(5000);
    expect(clock.afterMs).toBeGreaterThanOrEqual(clock.beforeMs);
  });

  test("after close every call is refused, nothing was sent, and the client passed in still works", async () => {
    const client = new Redis(server.url);
    const backend = redisStreamsBackend({ client });
    await backend.inspect(freshName(), call());
    await backend.close();
    await backend.close();
    await expect(backend.inspect(freshName(), call())).rejects.toMatchObject(notDone);
    expect(await client.ping()).toBe("PONG");
    client.disconnect();
  });

  test("a process that closed its backend can exit, also with a server that is gone", async () => {
    await using own = await startRedis({ settings: {} });
    const child = new URL("exit-child.ts", import.meta.url).pathname;
    const run = promisify(execFile);
    const { stdout } = await run(
      process.execPath,
      ["--conditions=source", "--import", "tsx", child, own.url, "redis://127.0.0.1:1"],
      { timeout: 30_000 },
    );
    expect(stdout).toBe("closed\n");
  });
});
