import { beforeEach, describe, expect, it } from "vitest";
import { createCoordinator } from "../src/coordinator.ts";
import type { Coordinator } from "../src/api.ts";
import { LeaseLostError, UnavailableError } from "../src/errors.ts";
import { marginMs } from "../src/holding.ts";
import { fail, failAfter, FakeHost, fakeStore, hang, loseReply } from "./fake-host.ts";

let host: FakeHost;
let store: ReturnType<typeof fakeStore>;
let coord: Coordinator;
const ttlMs = 3000;
const margin = marginMs(ttlMs);

beforeEach(() => {
  host = new FakeHost();
  store = fakeStore(host);
  coord = createCoordinator({
    backend: store.backend,
    namespace: "n",
    defaults: { ttlMs },
    host,
    cleanUp: false,
  });
});

const reasonOf = (signal: AbortSignal): unknown =>
  signal.reason instanceof LeaseLostError ? signal.reason.reason : signal.reason;

describe("the deadline", () => {
  it("counts from before the request was sent, less the margin", async () => {
    store.next("acquire", async (run) => {
      const answer = await run();
      host.mono += 400;
      return answer;
    });
    const lease = await coord.acquire("k", { renew: false });
    expect(lease.remainingMs).toBeCloseTo(ttlMs - margin - 400);
  });

  it("aborts the signal before the store may hand the lease on, though nobody answers", async () => {
    const lease = await coord.acquire("k");
    store.next("renew", hang, 99);
    await host.advance(ttlMs - margin - 1);
    expect(lease.signal.aborted).toBe(false);
    await host.advance(1.1);
    expect(reasonOf(lease.signal)).toBe("deadline");
    expect(lease.state).toBe("lost");
    expect((await store.inner.inspect(lease.grant.name, { signal: lease.signal, timeoutMs: 1 }))?.state).toBe(
      "held",
    );
  });

  it.each([
    ["refused connections", fail(new UnavailableError("refused", { notDone: true }))],
    ["errors that no adapter mapped", fail(new TypeError("boom"))],
    ["answers of lost", async () => ["lost"]],
    ["answers of unknown", async () => ["unknown"]],
  ])("ends a lease whose renewals meet %s", async (_, act) => {
    const lease = await coord.acquire("k");
    store.next("renew", act, 9999);
    await host.advance(ttlMs - margin + 1);
    expect(lease.signal.reason).toBeInstanceOf(LeaseLostError);
    expect(() => lease.assertHeld()).toThrow(LeaseLostError);
  });

  it("is judged by the clock and not by a timer: assertHeld throws although no timer ran", async () => {
    const lease = await coord.acquire("k");
    host.mono += ttlMs;
    expect(() => lease.assertHeld()).toThrow(
      /fence \d+, ttl 3000 ms.*could not be renewed before its deadline/,
    );
    expect(lease.signal.aborted).toBe(true);
  });

  it("counts the time in which the machine was suspended", async () => {
    const lease = await coord.acquire("k");
    await host.advance(500);
    host.suspend(ttlMs);
    await host.advance(margin / 2 + 1);
    expect(reasonOf(lease.signal)).toBe("deadline");
  });

  it("only grows, and lost is final", async () => {
    const lease = await coord.acquire("k");
    store.next("renew", async (run) => {
      const answer = await run();
      host.mono += ttlMs;
      return answer;
    });
    await expect(lease.renew()).rejects.toThrow(LeaseLostError);
    await host.advance(10 * ttlMs);
    expect(lease.state).toBe("lost");
  });

  it("ends at maxHoldMs although renewals work", async () => {
    const lease = await coord.acquire("k", { maxHoldMs: 5000 });
    await host.advance(4999);
    expect(lease.state).toBe("held");
    await host.advance(2);
    expect(reasonOf(lease.signal)).toBe("overheld");
  });
});

describe("renewal", () => {
  it("goes out at a third of the ttl, in one call for all leases", async () => {
    const leases = await Promise.all(Array.from({ length: 500 }, (_, i) => coord.acquire(`k${i}`)));
    await host.advance(ttlMs * 10);
    expect(store.count("renew")).toBeLessThanOrEqual(31);
    expect(leases.every((lease) => lease.state === "held")).toBe(true);
  });

  it("goes on after a failed one, and extends nothing by it", async () => {
    const lease = await coord.acquire("k");
    store.next("renew", fail(new UnavailableError("down")));
    await host.advance(ttlMs / 3 + 1);
    expect(lease.remainingMs).toBeLessThan(ttlMs - margin - ttlMs / 3);
    await host.advance(200);
    expect(lease.remainingMs).toBeGreaterThan(ttlMs - margin - 200);
  });

  it("does not wait for a tick that hangs", async () => {
    const lease = await coord.acquire("k");
    store.next("renew", hang);
    await host.advance(ttlMs * 3);
    expect(lease.state).toBe("held");
  });

  it("sends a lease alone after its record was locked, so that it delays no other", async () => {
    const batches: number[] = [];
    const renew = store.backend.renew.bind(store.backend);
    store.backend.renew = async (requests, options) => {
      batches.push(requests.length);
      const answers = await renew(requests, options);
      return answers.map((answer, i) => (requests[i]?.name.key.endsWith("locked") ? "unknown" : answer));
    };
    await coord.acquire("locked");
    await coord.acquire("other");
    await host.advance(ttlMs / 3 + 300);
    expect(batches[0]).toBe(2);
    expect(batches.slice(1).every((size) => size === 1)).toBe(true);
  });

  it("can be switched off", async () => {
    const lease = await coord.acquire("k", { renew: false });
    await host.advance(ttlMs);
    expect(store.count("renew")).toBe(0);
    expect(lease.state).toBe("lost");
  });
});

describe("release", () => {
  it("frees the name, is idempotent, and aborts the signal", async () => {
    const lease = await coord.acquire("k");
    await Promise.all([lease.release(), lease.release()]);
    await lease.release();
    expect(store.count("release")).toBe(1);
    expect(reasonOf(lease.signal)).toBe("released");
    expect(lease.state).toBe("ended");
    expect((await coord.inspect("k"))?.state).toBe("free");
  });

  it("works when the caller's signal is aborted", async () => {
    const controller = new AbortController();
    const lease = await coord.acquire("k", { signal: controller.signal });
    controller.abort();
    await lease.release();
    expect((await coord.inspect("k"))?.state).toBe("free");
  });

  it("is repeated when its answer was lost, and lost as the answer to a repeat counts as released", async () => {
    const lease = await coord.acquire("k");
    store.next("release", async (run) => {
      await run();
      await store.inner.acquire(
        { name: lease.grant.name, grantId: "other", holder: "", ttlMs, sealed: false, retainMs: null },
        { signal: lease.signal, timeoutMs: 1 },
      );
      throw new UnavailableError("cut");
    });
    const released = lease.release();
    await host.advance(1000);
    await expect(released).resolves.toBeUndefined();
    expect(store.count("release")).toBe(2);
  });

  it("says that the lease was lost when lost is the first answer", async () => {
    const lease = await coord.acquire("k");
    await coord.breakLease("k", { fence: lease.fence, by: "test", now: true });
    await expect(lease.release()).rejects.toMatchObject({ code: "COORD_LEASE_LOST", reason: "refused" });
  });

  it("says unknown when nobody answers, and goes on in the background until the lease has lapsed", async () => {
    const lease = await coord.acquire("k");
    store.next("release", fail(new UnavailableError("down")), 60);
    const released = expect(lease.release()).rejects.toMatchObject({ code: "COORD_UNAVAILABLE" });
    await host.advance(2 * (ttlMs / 3) + 10);
    await released;
    const before = store.count("release");
    await host.advance(ttlMs * 2);
    expect(store.count("release")).toBeGreaterThan(before);
    expect(host.timers.size).toBe(0);
  });

  it("throws a loss at disposal once, unless it was thrown before", async () => {
    const silent = await coord.acquire("a");
    const told = await coord.acquire("b");
    host.mono += ttlMs;
    await expect(silent[Symbol.asyncDispose]()).rejects.toThrow(LeaseLostError);
    expect(() => told.assertHeld()).toThrow(LeaseLostError);
    await expect(told[Symbol.asyncDispose]()).resolves.toBeUndefined();
  });
});

describe("a checkpoint", () => {
  it("is what the next holder finds", async () => {
    const first = await coord.acquire("k");
    expect(first.checkpoint).toBeUndefined();
    await first.save({ page: 7 });
    expect(first.checkpoint).toEqual({ page: 7 });
    await first.release();
    expect((await coord.acquire("k")).checkpoint).toEqual({ page: 7 });
  });

  it("is saved in order, one at a time, and a lost reply is repeated under the same number", async () => {
    const lease = await coord.acquire("k");
    store.next("renew", failAfter(new UnavailableError("cut")));
    const saves = [1, 2, 3].map((n) => lease.save(n));
    await host.advance(500);
    await Promise.all(saves);
    await lease.release();
    expect((await coord.acquire("k")).checkpoint).toBe(3);
  });

  it("is refused after the loss", async () => {
    const lease = await coord.acquire("k");
    host.mono += ttlMs;
    await expect(lease.save(1)).rejects.toThrow(LeaseLostError);
  });

  it.each([
    ["a bigint", { at: 1n }, "checkpoint.at is 1n"],
    ["a Date", { at: [new Date(0)] }, "checkpoint.at[0] is an object (Date)"],
    ["NaN", NaN, "checkpoint is NaN"],
    ["a Map", new Map(), "an object (Map)"],
    ["a function", { f: () => 1 }, "checkpoint.f is a function"],
    ["undefined", undefined, "checkpoint is undefined"],
    ["a class instance", new (class Money {})(), "an object (Money)"],
    ["more than 256 KiB", "x".repeat(262_144), "has 262146 bytes"],
  ])("of %s is refused before anything is sent", async (_, value, message) => {
    const lease = await coord.acquire("k");
    const save: (value: never) => Promise<void> = lease.save.bind(lease);
    await expect(save(value as never)).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
    await expect(save(value as never)).rejects.toThrow(message);
    expect(store.count("renew")).toBe(0);
  });

  it("of 256 KiB fits", async () => {
    const lease = await coord.acquire("k");
    await lease.save("x".repeat(262_142));
  });

  it("refuses a cycle with the place where it closes", async () => {
    const lease = await coord.acquire("k");
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    await expect(lease.save(cycle)).rejects.toThrow("checkpoint.self is part of a cycle");
  });
});

describe("a hand-over", () => {
  it("ends the handle, and its text works once, under a new fence, with the checkpoint", async () => {
    const lease = await coord.acquire("k");
    await lease.save("half");
    const text = lease.detach();
    expect(reasonOf(lease.signal)).toBe("detached");
    const adopted = await coord.adopt(text);
    expect(adopted.fence).toBeGreaterThan(lease.fence);
    expect(adopted.checkpoint).toBe("half");
    await expect(coord.adopt(text)).rejects.toMatchObject({ code: "COORD_MOVED" });
  });

  it("is refused after the ttl", async () => {
    const text = (await coord.acquire("k")).detach();
    await host.advance(ttlMs + 1);
    await expect(coord.adopt(text)).rejects.toMatchObject({ code: "COORD_MOVED" });
  });

  it.each([["nonsense"], ["coord1.AAAA"], [7]])("refuses the text %j", async (text) => {
    const adopt: (text: never) => Promise<unknown> = coord.adopt.bind(coord);
    await expect(adopt(text as never)).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
  });

  it("resolves a lost reply", async () => {
    const text = (await coord.acquire("k")).detach();
    store.next("acquire", loseReply);
    const adopting = coord.adopt(text);
    await host.advance(ttlMs / 3 + 100);
    expect((await adopting).state).toBe("held");
  });
});
