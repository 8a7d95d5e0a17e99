import type { Backend, ReleaseRequest } from "@coord/core";
import { type FakeFault, type FakeRequest, startProxy } from "@coord/test-fixtures";
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

const options = callOptions();
const unknown = { code: "COORD_UNAVAILABLE" };
const only = (method: string) => (request: FakeRequest) => request.method === method;
const strike = (method: string, fault: FakeFault): void =>
  void store.fake.faults.push({ match: only(method), times: 1, ...fault });

/** A fault of each sort; whether the request was executed is what nobody can tell. */
const faults: readonly (readonly [string, FakeFault])[] = [
  ["a lost reply", { swallow: true }],
  ["a lost request", { drop: true }],
  ["503", { status: 503 }],
  ["500", { status: 500 }],
  ["408", { status: 408 }],
  ["429", { status: 429, reason: "rateLimitExceeded" }],
  ["403 rateLimitExceeded", { status: 403, reason: "rateLimitExceeded" }],
];

describe.each(faults)("after %s", (_, fault) => {
  test("an acquire is unknown, sent once, and its repeat is granted", async () => {
    for (const method of ["GET", "POST"]) {
      const request = acquireRequest(freshName(), "g", { payload: "p" });
      strike(method, fault);
      store.clearLog();
      await expect(one.acquire(request, options)).rejects.toMatchObject(unknown);
      expect(store.methods()).toEqual(method === "GET" ? ["GET"] : ["GET", "POST"]);
      expect(await one.acquire(request, options)).toMatchObject({ outcome: "granted", payload: "p" });
    }
  });

  test("of five renewals the struck one is unknown, sent once, and the next is renewed", async () => {
    const grants = [];
    for (let i = 0; i < 5; i += 1) grants.push(await granted(one, freshName()));
    const struck = store.objectOf(grants[2]?.name ?? freshName());
    store.fake.faults.push({
      ...fault,
      times: 1,
      match: ({ path }) => path.endsWith(encodeURIComponent(struck)),
    });
    store.clearLog();
    expect(await one.renew(grants, options)).toEqual(["renewed", "renewed", "unknown", "renewed", "renewed"]);
    expect(store.methods()).toHaveLength(5);
    expect(await one.renew(grants, options)).toEqual(Array.from({ length: 5 }, () => "renewed"));
  });

  test("a release is unknown, and its repeat, with another payload too, leaves one outcome", async () => {
    const grant = await granted(one, freshName());
    const release = { ...grant, payload: "first" };
    strike("POST", fault);
    await expect(one.release(release, options)).rejects.toMatchObject(unknown);
    const again: ReleaseRequest = { ...grant, payload: "second" };
    expect(await one.release(again, options)).toMatchObject({ outcome: "released" });
    const stands = (await two.inspect(grant.name, options))?.payload;
    expect(stands).toBe(fault.swallow ? "first" : "second");
  });

  test("an overrule is unknown, and its repeat is answered with one fence", async () => {
    const { name, fence } = await granted(one, freshName());
    const request = { name, grantId: "o", fence, released: false, sealed: true, retainMs: null };
    strike("PATCH", fault);
    await expect(two.overrule(request, options)).rejects.toMatchObject(unknown);
    const result = await two.overrule(request, options);
    expect(result).toEqual({ outcome: "overruled", fence: (await one.inspect(name, options))?.fence });
  });
});

describe("late packets and slow answers", () => {
  test("a heartbeat that is applied after the expiry is lost, with and without a takeover", async () => {
    const [alone, taken] = [await granted(one, freshName()), await granted(one, freshName())];
    store.fake.faults.push({ match: only("PATCH"), times: 2, beforeMs: 400 });
    store.clearLog();
    const renewals = one.renew([alone, taken], options);
    await expect.poll(() => store.methods()).toEqual(["PATCH", "PATCH"]);
    store.pass(40_000);
    const next = await granted(two, taken.name);
    expect(await renewals).toEqual(["lost", "lost"]);
    expect((await two.inspect(taken.name, options))?.grantId).toBe(next.grantId);
    expect((await two.inspect(alone.name, options))?.state).toBe("lapsed");
  });

  test("an acquire that is applied after its time carries its old expiry", async () => {
    const name = freshName();
    strike("POST", { beforeMs: 400 });
    store.clearLog();
    const acquired = one.acquire(acquireRequest(name, "g"), options);
    await expect.poll(() => store.methods()).toEqual(["GET", "POST"]);
    store.pass(40_000);
    await acquired;
    expect((await two.inspect(name, options))?.state).toBe("lapsed");
    await granted(two, name);
  });

  test("an answer that took over a second is not remembered", async () => {
    strike("POST", { afterMs: 300 });
    const name = freshName();
    store.clearLog();
    const acquired = one.acquire(acquireRequest(name, "g"), options);
    await expect.poll(() => store.methods()).toEqual(["GET", "POST"]);
    store.pass(1000);
    const result = await acquired;
    const fence = result.outcome === "granted" ? result.fence : 0n;
    store.clearLog();
    expect(await one.renew([{ ...acquireRequest(name, "g"), fence }], options)).toEqual(["renewed"]);
    expect(store.methods()).toEqual(["GET", "PATCH"]);
  });

  test("memory revives no lease that has lapsed by the seconds of the Date header", async () => {
    const frozen = await openFakeStore(1_900_000_000_900);
    const backend = frozen.open();
    const grant = await granted(backend, freshName(), { ttlMs: 15_000 });
    frozen.pass(16_200);
    expect((await backend.inspect(grant.name, options))?.state).toBe("lapsed");
    expect(await backend.renew([grant], options)).toEqual(["lost"]);
    expect((await backend.inspect(grant.name, options))?.state).toBe("lapsed");
    await frozen.close();
  });

  test("a body that was replaced between the two reads is read again", async () => {
    const grant = await granted(one, freshName(), { payload: "old" });
    store.fake.faults.push({ match: ({ query }) => query.get("alt") === "media", times: 1, beforeMs: 300 });
    store.clearLog();
    const seen = two.inspect(grant.name, options);
    await expect.poll(() => store.methods()).toEqual(["GET", "BODY"]);
    await one.renew([{ ...grant, payload: "new", payloadSeq: 1 }], options);
    expect((await seen)?.payload).toBe("new");
    expect(store.methods()).toEqual(["GET", "BODY", "POST", "GET", "BODY"]);
  });

  test("a second mutation within a second is 429, nothing is done, and core is told when to come again", async () => {
    store.fake.minGapMs = 1000;
    const grant = await granted(one, freshName());
    const tooSoon = one.release(grant, options);
    await expect(tooSoon).rejects.toMatchObject({ ...unknown, notDone: true, retryAfterMs: 1000 });
    store.pass(1000);
    expect(await one.release(grant, options)).toEqual({ outcome: "released" });
  });

  test("fences rise over a Date that is an hour back, and over clean-up", async () => {
    const name = freshName();
    const first = await granted(one, name);
    await one.release({ ...first, retainMs: 1 }, options);
    store.fake.faults.push({ times: 2, dateSkewMs: -3_600_000 });
    const second = await granted(two, name);
    expect(second.fence).toBe(first.fence + 1n);
    await two.release({ ...second, retainMs: 1 }, options);
    store.pass(5000);
    expect(await two.prune({ limit: 10 }, options)).toBe(1);
    expect((await granted(two, name)).fence).toBeGreaterThan(second.fence);
  });
});

describe("a caller who no longer waits", () => {
  test("is answered at once when the signal is aborted, and nothing is sent after it", async () => {
    const controller = new AbortController();
    await store.fake.serverFaults.pause();
    const calls = [freshName(), freshName()].map((name) =>
      one.acquire(acquireRequest(name, "g"), { signal: controller.signal, timeoutMs: 5000 }),
    );
    const settled = Promise.allSettled(calls);
    await expect.poll(() => store.fake.log.length).toBe(2);
    const startedAt = performance.now();
    controller.abort();
    for (const result of await settled) expect(result).toMatchObject({ status: "rejected", reason: unknown });
    expect(performance.now() - startedAt).toBeLessThan(1000);
    await store.fake.serverFaults.resume();
    store.clearLog();
    const late = one.acquire(acquireRequest(freshName(), "g"), {
      signal: controller.signal,
      timeoutMs: 5000,
    });
    await expect(late).rejects.toMatchObject({ ...unknown, notDone: true });
    expect(store.fake.log).toEqual([]);
  });

  test("is answered within the time limit, whose end also ends the request", async () => {
    await store.fake.serverFaults.pause();
    const proxy = await startProxy(store.fake.url);
    const backend = store.open({ endpoint: proxy.url.replace(/\/$/, "") });
    await expect(backend.inspect(freshName(), callOptions(200))).rejects.toMatchObject(unknown);
    await expect.poll(() => proxy.connections).toBe(0);
    await proxy.stop();
  });
});

describe("names and texts that others would change", () => {
  test("placeholders of the client, quotes, dots and control characters stay as they are", async () => {
    const keys = [
      "{{projectId}}",
      "..",
      ".",
      "a/../b",
      "%2F",
      "a?b#c",
      "\u001f x*[]",
      "é",
      "e\u0301",
      '"',
      "\u{1f600}",
    ];
    const text = '{{projectId}}\r\n--x\r\n{"error":{"code":503}}\u0000\ufeff';
    for (const key of keys) {
      const grant = await granted(one, freshName(key), { holder: `h ${key} é`, payload: `${text}${key}` });
      await one.renew([{ ...grant, payload: `${key}${text}`, payloadSeq: 1 }], options);
      const record = await two.inspect(grant.name, options);
      expect(record).toMatchObject({ key: grant.name.key, holder: `h ${key} é`, payload: `${key}${text}` });
    }
    const listed = await two.list({ namespace: "ns", prefix: "l\u001f", limit: 100 }, options);
    expect(listed.map(({ key }) => key).toSorted()).toEqual(keys.map((key) => `l\u001f${key}`).toSorted());
  });

  test.each(["", "null", "0", '"text"', '{"error":"x"}', "[1]", "\r\n", "x".repeat(262_144)])(
    "a payload that looks like %j arrives as it was",
    async (payload) => {
      const grant = await granted(one, freshName(), { payload });
      expect((await two.inspect(grant.name, options))?.payload).toBe(payload);
    },
  );

  test("an object that is not ours is neither taken nor listed, and its error says what to do", async () => {
    const name = freshName();
    const grant = await granted(one, name, { payload: "p" });
    const object = store.fake.objects(bucketName).get(store.objectOf(name));
    if (object !== undefined) object.body = Buffer.from("by hand");
    await expect(two.inspect(name, options)).rejects.toThrow(
      "delete it, or give the leases a prefix of their own",
    );
    if (object !== undefined) object.metadata = {};
    await expect(two.acquire(acquireRequest(name, "g"), options)).rejects.toMatchObject({
      code: "COORD_CONFIGURATION",
    });
    expect(await two.list({ namespace: "ns", prefix: "", limit: 10 }, options)).toEqual([]);
    const other = await granted(one, freshName());
    expect(await one.renew([other], options)).toEqual(["renewed"]);
    expect(await one.renew([{ ...grant, fence: 1n }, other], options)).toEqual(["unknown", "renewed"]);
  });
});
