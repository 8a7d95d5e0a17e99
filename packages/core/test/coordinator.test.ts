import { beforeEach, describe, expect, it } from "vitest";
import type { Coordinator, CoordinatorOptions } from "../src/api.ts";
import { assertFenced, createCoordinator } from "../src/coordinator.ts";
import { LeaseLostError, StaleFenceError, UnavailableError } from "../src/errors.ts";
import { fail, FakeHost, fakeStore, hang } from "./fake-host.ts";

const ttlMs = 3000;
let host: FakeHost;
let store: ReturnType<typeof fakeStore>;
let coord: Coordinator;

function coordinator(change: Partial<CoordinatorOptions> = {}): Coordinator {
  return createCoordinator({
    backend: store.backend,
    namespace: "n",
    defaults: { ttlMs },
    host,
    cleanUp: false,
    ...change,
  });
}

beforeEach(() => {
  host = new FakeHost();
  store = fakeStore(host);
  coord = coordinator();
});

describe("withLease", () => {
  it("runs the callback under the lease, returns its value and releases", async () => {
    expect(await coord.withLease("k", (lease) => lease.state)).toBe("held");
    expect((await coord.inspect("k"))?.state).toBe("free");
  });

  it("rethrows the callback's own error unchanged, also when the release fails", async () => {
    const mine = new Error("mine");
    store.next("release", fail(new UnavailableError("down")), 99);
    const running = expect(coord.withLease("k", () => Promise.reject(mine))).rejects.toBe(mine);
    await host.advance(ttlMs);
    await running;
  });

  it("returns the value although the release was not confirmed: the work was done under the lease", async () => {
    store.next("release", hang, 99);
    const running = coord.withLease("k", () => 7);
    await host.advance(ttlMs);
    expect(await running).toBe(7);
  });

  it("rejects with the loss and the callback's result when the lease was lost before it finished", async () => {
    const running = coord.withLease("k", () => {
      host.mono += ttlMs;
      return "done anyway";
    });
    await expect(running).rejects.toMatchObject({ code: "COORD_LEASE_LOST", result: "done anyway" });
  });

  it("notices that it was overruled at the release at the latest", async () => {
    const running = coord.withLease("k", async (lease) => {
      await coord.breakLease("k", { fence: lease.fence, by: "operator" });
      return 1;
    });
    await expect(running).rejects.toMatchObject({ reason: "refused", result: 1 });
  });

  it("keeps others out for minHoldMs, however soon the callback is done or fails", async () => {
    await coord.tryWithLease("a", { minHoldMs: 10_000 }, () => 1);
    await expect(
      coord.tryWithLease("b", { minHoldMs: 10_000 }, () => Promise.reject(new Error("x"))),
    ).rejects.toThrow("x");
    await host.advance(9990);
    expect(await coord.tryWithLease("a", () => 1)).toMatchObject({ acquired: false, remainingMs: 10 });
    expect(await coord.tryWithLease("b", () => 1)).toMatchObject({ acquired: false });
    await host.advance(11);
    expect(await coord.tryWithLease("a", () => 1)).toEqual({ acquired: true, value: 1 });
  });

  it("refuses to wait for itself", async () => {
    const inner = (): Promise<unknown> => coord.withLease("k", () => 1);
    await expect(coord.withLease("k", inner)).rejects.toMatchObject({ code: "COORD_REENTRANT" });
    await expect(coord.withLease("k", () => coord.withLease("other", inner))).rejects.toThrow(
      /not re-entrant/,
    );
    await expect(coord.withLease("k", () => coord.tryAcquire("k"))).rejects.toThrow(/not re-entrant/);
    expect(await coord.withLease("k", () => coord.withLease("other", () => 2))).toBe(2);
  });

  it("does not take code that outlives the callback for re-entrant", async () => {
    let later: Promise<unknown> | undefined;
    await coord.withLease("k", () => {
      later = (async () => {
        await new Promise<void>((resolve) => void host.setTimer(resolve, 100, true));
        return coord.withLease("k", () => "later");
      })();
    });
    await host.advance(100);
    expect(await later).toBe("later");
  });

  it("says what is wrong when there is no callback", async () => {
    // @ts-expect-error -- the callback is missing
    await expect(coord.withLease("k", { ttlMs })).rejects.toThrow(
      "withLease takes a callback as its last argument, got undefined",
    );
  });
});

describe("breakLease", () => {
  it("lets others in at the holder's own deadline, at once with now", async () => {
    for (const now of [false, true]) {
      const key = `k${now}`;
      const lease = await coord.acquire(key, { renew: false });
      const broken = await coord.breakLease(key, { fence: lease.fence, by: "me", note: "stuck", now });
      expect(broken.fence).toBeGreaterThan(lease.fence);
      expect((await coord.inspect(key))?.state).toBe(now ? "free" : "held");
    }
  });

  it("keeps the checkpoint", async () => {
    const lease = await coord.acquire("k");
    await lease.save(7);
    await coord.breakLease("k", { fence: lease.fence, by: "me", now: true });
    expect((await coord.inspect("k"))?.checkpoint).toBe(7);
  });

  it("is refused with what is there now when the fence is another", async () => {
    await expect(coord.breakLease("k", { fence: 5n, by: "me" })).rejects.toThrow(
      '"k" was not broken: there is no such lease',
    );
    const lease = await coord.acquire("k");
    const broken = coord.breakLease("k", { fence: lease.fence + 1n, by: "me" });
    await expect(broken).rejects.toMatchObject({ code: "COORD_MOVED" });
    await expect(broken).rejects.toThrow(`its fence is ${lease.fence} now`);
  });

  it("takes a leadership away, and nothing of the lease of the same name", async () => {
    const lease = await coord.acquire("k");
    const election = coord.elect("k").start();
    await host.advance(100);
    const { fence = 0n } = election.term ?? {};
    await coord.breakLease("k", { fence, by: "me", kind: "election", now: true });
    expect((await coord.inspect("k", { kind: "election" }))?.state).toBe("free");
    expect((await coord.inspect("k"))?.fence).toBe(lease.fence);
    await host.advance(ttlMs / 3);
    expect(election.term?.fence).not.toBe(fence);
    const stopped = election.stop();
    await host.advance(ttlMs);
    await stopped;
  });

  it("has nothing to do with executions", async () => {
    const broken = coord.breakLease("k", { fence: 1n, by: "me", kind: "execution" as never });
    await expect(broken).rejects.toThrow('kind must be "lease" or "election", got "execution"');
  });

  it("needs a name of who does it", async () => {
    await expect(coord.breakLease("k", { fence: 1n, by: "" })).rejects.toThrow("by must not be empty");
  });
});

describe("list", () => {
  it("reads all pages in byte order, by prefix, kind and state", async () => {
    const keys = Array.from({ length: 1200 }, (_, i) => `job:${String(i).padStart(4, "0")}`);
    for (const key of [...keys, "other", "job", "job:ä", "job:\u{1F600}", "job:\uFFFD"])
      await (await coord.acquire(key)).release();
    const held = await coord.acquire("job:0007");
    const found: string[] = [];
    for await (const { key } of coord.list({ prefix: "job:" })) found.push(key);
    expect(found).toEqual([...keys, "job:ä", "job:\uFFFD", "job:\u{1F600}"]);
    const heldNow: string[] = [];
    for await (const { key } of coord.list({ state: "held" })) heldNow.push(key);
    expect(heldNow).toEqual([held.key]);
    for await (const other of coord.list({ kind: "election" })) expect(other).toBe("none");
  });
});

describe("close", () => {
  it("takes no new work and ends waiters at once", async () => {
    await coord.acquire("k");
    const waiting = expect(coord.acquire("k")).rejects.toMatchObject({ code: "COORD_CLOSED" });
    await host.settle();
    const closing = coord.close({ graceMs: 100 });
    await waiting;
    await expect(coord.tryAcquire("other")).rejects.toMatchObject({ code: "COORD_CLOSED" });
    await host.advance(2000);
    await closing;
  });

  it("refuses to wait for longer than an hour, and is not closed by that", async () => {
    expect(() => coord.close({ graceMs: 3_600_001 })).toThrow(/graceMs must be .* 3600000, got 3600001/);
    await (await coord.acquire("k")).release();
  });

  it("waits for what runs, up to graceMs", async () => {
    let finish = (): void => {};
    const running = coord.withLease(
      "k",
      () => new Promise<string>((resolve) => (finish = () => resolve("whole"))),
    );
    await host.settle();
    const closing = coord.close({ graceMs: 5000 });
    await host.advance(4000);
    finish();
    expect(await running).toBe("whole");
    await closing;
    expect(host.timers.size).toBe(0);
  });

  it("then aborts the signals, and only then releases", async () => {
    const lease = await coord.acquire("k");
    const seen: string[] = [];
    lease.signal.addEventListener("abort", () =>
      seen.push(`aborted after ${store.count("release")} releases`),
    );
    const closing = coord.close({ graceMs: 1000 });
    await host.advance(5000);
    await closing;
    expect(seen).toEqual(["aborted after 0 releases"]);
    expect(lease.signal.reason).toBeInstanceOf(LeaseLostError);
    expect([...store.store.records.values()][0]?.expiresAt).toBe(0);
    expect(host.timers.size).toBe(0);
  });

  it("does not hang when the store does", async () => {
    await coord.acquire("k");
    store.next("release", hang, 999);
    store.next("renew", hang, 999);
    const closing = coord.close({ graceMs: 10 });
    await host.advance(60_000);
    await closing;
  });
});

describe("a close", () => {
  it.each([
    ["inspect", () => coord.inspect("k")],
    ["list", () => coord.list()[Symbol.asyncIterator]().next()],
    ["prune", () => coord.prune()],
    ["diagnose", () => coord.diagnose()],
    ["inspect", () => coord.executions.get("k")],
    ["list", () => coord.executions.list()[Symbol.asyncIterator]().next()],
  ] as const)("ends a call of %s that the store does not answer", async (operation, ask) => {
    store.next(operation, hang);
    const asked = expect(ask()).rejects.toMatchObject({ code: "COORD_CLOSED" });
    await host.advance(1);
    await coord.close();
    await asked;
    expect(host.timers.size).toBe(0);
  });
});

describe("clean-up", () => {
  it("deletes in the background what is past its time, under a lease of its own", async () => {
    coord = coordinator({ cleanUp: true });
    await (await coord.acquire("old", { retainMs: 60_000 })).release();
    await host.advance(2_000_000);
    expect(await coord.inspect("old")).toBeNull();
    await coord.close();
    expect(host.timers.size).toBe(0);
  });

  it("deletes nothing while the clocks differ by over an hour", async () => {
    coord = coordinator({ cleanUp: true });
    await (await coord.acquire("old", { retainMs: 60_000 })).release();
    store.setSkew(3_700_000);
    await host.advance(2_000_000);
    expect(await coord.inspect("old")).not.toBeNull();
    store.setSkew(0);
    await host.advance(6_000_000);
    expect(await coord.inspect("old")).toBeNull();
    await coord.close();
  });

  it("is done by hand with prune", async () => {
    await (await coord.acquire("old", { retainMs: 60_000 })).release();
    expect(await coord.prune()).toBe(0);
    await host.advance(60_002);
    expect(await coord.prune()).toBe(1);
  });
});

describe("maxClockOffsetMs", () => {
  it("refuses to acquire while this host and the store differ by more", async () => {
    coord = coordinator({ maxClockOffsetMs: 500 });
    store.setSkew(800);
    await expect(coord.acquire("k")).rejects.toMatchObject({ code: "COORD_CLOCK_OFFSET" });
    await expect(coord.acquire("k")).rejects.toThrow(/800 ms ahead of this host's.*maxClockOffsetMs is 500/);
    store.setSkew(-400);
    expect((await coord.acquire("k")).state).toBe("held");
  });

  it("measures again after ten minutes", async () => {
    coord = coordinator({ maxClockOffsetMs: 500 });
    await coord.acquire("a");
    store.setSkew(800);
    await coord.acquire("b");
    await host.advance(600_001);
    await expect(coord.acquire("c")).rejects.toMatchObject({ code: "COORD_CLOCK_OFFSET" });
  });
});

describe("assertFenced", () => {
  const lease = { key: "k", fence: 41n };
  it("passes when the write changed something", () => {
    for (const changed of [1, 3, 1n]) expect(() => assertFenced(lease, changed)).not.toThrow();
  });
  it("throws when a newer holder was there", () => {
    expect(() => assertFenced(lease, 0)).toThrow(StaleFenceError);
    expect(() => assertFenced(lease, 0n)).toThrow(/"k" \(fence 41\) changed no row/);
  });
  it.each([[undefined], [null], [-1], [0.5], [NaN]])("refuses %s, which is no count", (changed) => {
    expect(() => assertFenced(lease, changed)).toThrow(/needs the number of rows/);
  });
});
