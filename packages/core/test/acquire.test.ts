import { beforeEach, describe, expect, it } from "vitest";
import type { Coordinator, CoordinatorOptions } from "../src/api.ts";
import type { Name } from "../src/backend.ts";
import { createCoordinator } from "../src/coordinator.ts";
import { AcquireTimeoutError, ConfigurationError, UnavailableError } from "../src/errors.ts";
import { fail, failAfter, FakeHost, fakeStore, hang, loseReply } from "./fake-host.ts";

const ttlMs = 3000;
const options = { signal: new AbortController().signal, timeoutMs: 1000 };
let host: FakeHost;
let store: ReturnType<typeof fakeStore>;
let coord: Coordinator;

function coordinator(change: Partial<CoordinatorOptions> = {}): Coordinator {
  return createCoordinator({
    backend: store.backend,
    namespace: "n",
    defaults: { ttlMs },
    holder: "me",
    host,
    cleanUp: false,
    ...change,
  });
}

function fresh(push = true): void {
  host = new FakeHost();
  store = fakeStore(host, { push });
  coord = coordinator();
}

beforeEach(() => fresh());

const nameOf = (key: string): Name => ({ namespace: "n", key: `l\u001F${key}` });
const taken = (key: string, grantId = "other"): Promise<unknown> =>
  store.inner.acquire(
    { name: nameOf(key), grantId, holder: "them", ttlMs, sealed: false, retainMs: null },
    options,
  );
const freed = (key: string, grantId = "other"): Promise<unknown> =>
  store.inner.release({ name: nameOf(key), grantId, fence: null, sealed: false, retainMs: null }, options);
const stateOf = async (key: string): Promise<string | undefined> =>
  (await store.inner.inspect(nameOf(key), options))?.state;

describe("one try", () => {
  it("costs one request and answers null when somebody holds it", async () => {
    await taken("k");
    expect(await coord.tryAcquire("k")).toBeNull();
    expect(store.calls).toEqual(["acquire"]);
  });

  it("does not queue behind waiters of this process", async () => {
    await taken("k");
    const waiting = coord.acquire("k");
    await host.settle();
    expect(await coord.tryAcquire("k")).toBeNull();
    await freed("k");
    await host.advance(10);
    await (await waiting).release();
  });

  it("with waitMs 0 throws who holds it and for how long", async () => {
    await taken("k");
    await expect(coord.acquire("k", { waitMs: 0 })).rejects.toMatchObject({
      code: "COORD_ACQUIRE_TIMEOUT",
      holder: "them",
      remainingMs: ttlMs,
    });
  });
});

describe("a lost answer", () => {
  it("is resolved by the same request, which is granted again", async () => {
    store.next("acquire", failAfter(new UnavailableError("cut")));
    const acquiring = coord.acquire("k");
    await host.advance(50);
    const lease = await acquiring;
    expect(lease.state).toBe("held");
    expect(store.count("acquire")).toBe(2);
    expect([...store.store.records.values()][0]?.grantId).toBe("grant-1");
  });

  it("that comes back as spent is given back and tried anew at once; the caller never sees it", async () => {
    store.next("acquire", async (run) => {
      await run();
      host.mono += ttlMs + 1;
      throw new UnavailableError("cut");
    });
    const acquiring = coord.acquire("k", { waitMs: 20_000 });
    await host.advance(100);
    expect((await acquiring).state).toBe("held");
    expect([...store.store.records.values()][0]?.grantId).toBe("grant-2");
  });

  it("ends in unknown, never in held or free, when nobody answers", async () => {
    store.next("acquire", hang, 99);
    const acquiring = expect(coord.tryAcquire("k")).rejects.toMatchObject({ code: "COORD_UNAVAILABLE" });
    await host.advance(ttlMs);
    await acquiring;
  });

  it("ends in unknown at waitMs when nobody answers", async () => {
    store.next("acquire", fail(new UnavailableError("down")), 9999);
    const acquiring = expect(coord.acquire("k", { waitMs: 5000 })).rejects.toMatchObject({
      code: "COORD_UNAVAILABLE",
    });
    await host.advance(5001);
    await acquiring;
  });

  it("waits as long as the store asks before it repeats", async () => {
    store.next("acquire", fail(new UnavailableError("slow down", { retryAfterMs: 700, notDone: true })));
    const acquiring = coord.acquire("k");
    await host.advance(699);
    expect(store.count("acquire")).toBe(1);
    await host.advance(10);
    expect((await acquiring).state).toBe("held");
  });

  it("is not repeated when the configuration is wrong", async () => {
    store.next("acquire", fail(new ConfigurationError("no right")), 99);
    await expect(coord.acquire("k")).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
    expect(store.count("acquire")).toBe(1);
  });
});

describe("a grant answered after its deadline", () => {
  it("is not used but released, and tried anew", async () => {
    store.next("acquire", async (run) => {
      const answer = await run();
      host.mono += ttlMs;
      return answer;
    });
    const lease = await coord.acquire("k", { waitMs: 30_000 });
    expect(lease.grant.grantId).toBe("grant-2");
    expect(lease.remainingMs).toBeGreaterThan(ttlMs / 2);
    expect(store.calls).toEqual(["acquire", "release", "acquire"]);
  });
});

describe("giving up", () => {
  it("leaves nothing behind when it is aborted while the answer is out", async () => {
    store.next("acquire", loseReply);
    const controller = new AbortController();
    const acquiring = expect(coord.acquire("k", { signal: controller.signal })).rejects.toThrow("enough");
    await host.advance(10);
    expect(await stateOf("k")).toBe("held");
    controller.abort(new Error("enough"));
    await acquiring;
    await host.settle();
    expect(await stateOf("k")).toBe("free");
    expect(host.timers.size).toBe(0);
  });

  it("gives a win back that arrives late", async () => {
    let deliver = (): void => {};
    store.next("acquire", (run) => new Promise((resolve) => (deliver = () => resolve(run()))));
    const controller = new AbortController();
    const acquiring = expect(coord.acquire("k", { signal: controller.signal })).rejects.toThrow("enough");
    await host.settle();
    controller.abort(new Error("enough"));
    await acquiring;
    await host.settle();
    deliver();
    await host.settle();
    expect(await stateOf("k")).toBe("free");
  });

  it("rejects an aborted signal before any request", async () => {
    await expect(coord.acquire("k", { signal: AbortSignal.abort(new Error("early")) })).rejects.toThrow(
      "early",
    );
    expect(store.calls).toEqual([]);
  });

  it("at waitMs says who holds it", async () => {
    await taken("k");
    const acquiring = coord.acquire("k", { waitMs: 1000 });
    const failed = expect(acquiring).rejects.toThrow(/"k" was not free within waitMs \(1000\): held by them/);
    await host.advance(1001);
    await failed;
    await expect(acquiring).rejects.toBeInstanceOf(AcquireTimeoutError);
    expect(host.timers.size).toBe(0);
  });
});

describe("waiting", () => {
  it("is woken by a release at once where there is push", async () => {
    await taken("k");
    const waiting = coord.acquire("k");
    await host.settle();
    await freed("k");
    await host.settle();
    expect((await waiting).state).toBe("held");
    expect(host.mono).toBe(0);
  });

  it("loses no release between its first try and its subscription", async () => {
    await taken("k");
    store.next("watch", async (run) => {
      await freed("k");
      return run();
    });
    const waiting = coord.acquire("k");
    await host.settle();
    expect((await waiting).state).toBe("held");
  });

  it("sends less than one request in two seconds while it idles with push", async () => {
    const holder = coordinator({ holder: "them" });
    const lease = await holder.acquire("k", { ttlMs: 60_000 });
    const waiting = coord.acquire("k", { waitMs: 100_000 });
    await host.advance(1000);
    const before = store.calls.filter((call) => call !== "renew").length;
    await host.advance(80_000);
    expect(store.calls.filter((call) => call !== "renew").length - before).toBeLessThan(40);
    await lease.release();
    await host.advance(10);
    expect((await waiting).state).toBe("held");
  });

  it("polls where there is no push, and takes a lapsed lease at its end", async () => {
    fresh(false);
    await taken("k");
    const waiting = coord.acquire("k", { waitMs: 10_000 });
    await host.advance(ttlMs - 5);
    expect(await coord.inspect("k")).toMatchObject({ holder: "them" });
    await host.advance(20);
    expect((await waiting).holder).toBe("me");
  });

  it("falls back to polling when the subscription can't be had", async () => {
    store.next("watch", fail(new UnavailableError("no LISTEN")), 99);
    await taken("k");
    const waiting = coord.acquire("k");
    await host.advance(500);
    await freed("k");
    await host.advance(200);
    expect((await waiting).state).toBe("held");
  });

  it("is in order within a process, and only the head talks to the store", async () => {
    await taken("k");
    const order: number[] = [];
    const all = Array.from({ length: 100 }, async (_, i) => {
      const lease = await coord.acquire("k");
      order.push(i);
      await lease.release();
    });
    await host.advance(100);
    expect(store.count("acquire")).toBe(2);
    await freed("k");
    await host.advance(1000);
    await Promise.all(all);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(store.count("acquire")).toBe(2 + 100);
  });

  it("hands its place on when the head aborts or times out", async () => {
    await taken("k");
    const controller = new AbortController();
    const first = expect(coord.acquire("k", { signal: controller.signal })).rejects.toThrow();
    const second = expect(coord.acquire("k", { waitMs: 50 })).rejects.toMatchObject({
      code: "COORD_ACQUIRE_TIMEOUT",
    });
    const third = coord.acquire("k");
    await host.advance(20);
    controller.abort();
    await host.advance(40);
    await Promise.all([first, second]);
    await freed("k");
    await host.advance(100);
    expect((await third).state).toBe("held");
  });

  it("asks the store nothing while this very process holds the lease", async () => {
    const lease = await coord.acquire("k", { renew: false });
    const waiting = coord.acquire("k");
    await host.advance(1000);
    expect(store.calls).toEqual(["acquire"]);
    await lease.release();
    expect((await waiting).state).toBe("held");
    expect(store.calls).toEqual(["acquire", "release", "acquire"]);
  });

  it("pauses after many grants in a row within one process, for the waiters of others", async () => {
    const other = coordinator({ holder: "other process" });
    const holders: string[] = [];
    const worker = async (each: Coordinator): Promise<void> => {
      const lease = await each.acquire("k", { waitMs: 60_000 });
      holders.push(lease.holder);
      await lease.release();
    };
    const mine = Array.from({ length: 200 }, () => worker(coord));
    await host.settle();
    const theirs = worker(other);
    await host.advance(5000);
    await Promise.all([...mine, theirs]);
    expect(holders.indexOf("other process")).toBeLessThan(100);
  });

  it("may last for ever, and ends with the signal", async () => {
    await taken("k");
    const controller = new AbortController();
    const waiting = expect(
      coord.acquire("k", { waitMs: Infinity, signal: controller.signal }),
    ).rejects.toThrow("stop");
    const renewing = { name: nameOf("k"), grantId: "other", ttlMs };
    for (let hours = 0; hours < 3; hours += 1) {
      const fence = [...store.store.records.values()][0]?.fence ?? 0n;
      await store.inner.renew([{ ...renewing, fence, ttlMs: 4_000_000 }], options);
      await host.advance(3_600_000);
    }
    controller.abort(new Error("stop"));
    await waiting;
  });
});
