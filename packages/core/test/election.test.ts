import { describe, expect, it } from "vitest";
import type { ElectionOptions, LeaderInfo, Term } from "../src/election-api.ts";
import { UnavailableError } from "../src/errors.ts";
import { candidate, coords, electing, events, host, store, ttlMs, until } from "./electing.ts";
import { fail, hang } from "./fake-host.ts";

electing();

describe("an election", () => {
  it("has one leader, whose fence is its term, and the next one has a higher", async () => {
    const a = candidate("a").start();
    await host.advance(10);
    const b = candidate("b").start();
    await host.advance(10);
    expect([a.isLeader, b.isLeader]).toEqual([true, false]);
    const first = a.term?.fence ?? 0n;
    await a.stop();
    await host.advance(10);
    expect(b.isLeader).toBe(true);
    expect(b.term?.fence).toBeGreaterThan(first);
    expect(a.term).toBeUndefined();
    await b.stop();
    expect(host.timers.size).toBe(0);
  });

  it("keeps its leader after onElected has returned", async () => {
    let elected = 0;
    const a = candidate("a", { onElected: () => void (elected += 1) }).start();
    await host.advance(ttlMs * 20);
    expect([a.isLeader, elected]).toEqual([true, 1]);
  });

  it("ends a term by the leader's own clock before anybody else can win, though the store is unreachable", async () => {
    let term: Term | undefined;
    const a = candidate("a", { onElected: (own) => void (term = own) }).start();
    await host.advance(10);
    store.next("renew", hang, 999);
    await host.advance(ttlMs - 305);
    expect(term?.signal.aborted).toBe(true);
    expect(a.isLeader).toBe(false);
    expect((await a.leader())?.holder).toBe("a");
  });

  it("ends a term at the first look at the clock after the process stood still", async () => {
    const a = candidate("a").start();
    await host.advance(10);
    host.mono += ttlMs;
    expect(a.isLeader).toBe(false);
  });

  it("says in onLost how a term ended, once its work has settled", async () => {
    const ends: string[] = [];
    const options: ElectionOptions = {
      onElected: ({ signal }) => until(signal, 500).then(() => void ends.push("settled")),
      onLost: (_, end) => void ends.push(end),
    };
    const a = candidate("a", options).start();
    await host.advance(10);
    const resigned = a.resign();
    await host.advance(600);
    await resigned;
    store.next("renew", async () => ["lost"]);
    await host.advance(ttlMs);
    expect(ends).toEqual(["settled", "resigned", "settled", "lost"]);
  });
});

describe("resigning", () => {
  it("aborts, renews while the work settles, and releases last", async () => {
    const a = candidate("a", { onElected: ({ signal }) => until(signal, 8000) }).start();
    const b = candidate("b").start();
    await host.advance(10);
    let over = false;
    const resigned = a.resign().then(() => (over = true));
    await host.advance(7900);
    expect([a.isLeader, over]).toEqual([false, false]);
    expect(b.isLeader).toBe(false);
    expect((await a.leader())?.holder).toBe("a");
    await host.advance(200);
    await resigned;
    expect(b.isLeader).toBe(true);
  });

  it("lets the lease lapse after graceMs where the work does not settle, and stands again only when it has", async () => {
    let finish = (): void => {};
    const a = candidate("a", {
      graceMs: 1000,
      onElected: () => new Promise((resolve) => (finish = resolve)),
    }).start();
    const b = candidate("b").start();
    await host.advance(10);
    const resigned = a.resign();
    await host.advance(1001);
    await resigned;
    await host.advance(ttlMs / 2);
    expect(b.isLeader).toBe(false);
    await host.advance(ttlMs / 2);
    expect(b.isLeader).toBe(true);
    await host.advance(120_000);
    expect(events.filter((event) => event === "a standing")).toHaveLength(1);
    expect(events).toContain("a stuck");
    finish();
    await host.advance(1000);
    expect(events.filter((event) => event === "a standing")).toHaveLength(2);
  });

  it("lets another one win before it stands again", async () => {
    const a = candidate("a").start();
    const b = candidate("b").start();
    await host.advance(10);
    await a.resign();
    await host.advance(1000);
    expect([a.isLeader, b.isLeader]).toEqual([false, true]);
  });
});

describe("failures are told and survived", () => {
  it("resigns when onElected throws, and pauses longer each time, up to one ttl", async () => {
    const errors: unknown[] = [];
    candidate("a", {
      onElected: () => Promise.reject(new Error("no")),
      onError: (error) => void errors.push(error),
    }).start();
    await host.advance(ttlMs * 10);
    const terms = events.filter((event) => event === "a elected").length;
    expect(terms).toBeGreaterThan(8);
    expect(terms).toBeLessThan(25);
    expect(errors).toHaveLength(terms);
  });

  it("survives callbacks that throw", async () => {
    const bad = (): never => {
      throw new Error("bad");
    };
    const a = candidate("a", { onLost: bad, onCycle: bad, onError: bad }).start();
    await host.advance(ttlMs);
    await a.resign();
    await host.advance(ttlMs);
    expect(a.isLeader).toBe(true);
  });

  it("goes on standing while the store is down, without a hot loop", async () => {
    store.next("acquire", fail(new UnavailableError("down")), 9999);
    const a = candidate("a").start();
    await host.advance(60_000);
    expect(a.running).toBe(true);
    expect(store.count("acquire")).toBeLessThan(200);
  });
});

describe("what others see", () => {
  it("lists those that stand with a status, and takes the leader from the lease", async () => {
    const a = candidate("a", { status: { version: "1.2", zone: "x" } }).start();
    const b = candidate("b", { status: { version: "1.3" } }).start();
    candidate("c").start();
    await host.advance(1500);
    const seen = await a.candidates();
    expect(seen.map(({ holder, version, state }) => [holder, version, state]).toSorted()).toEqual([
      ["a", "1.2", "leader"],
      ["b", "1.3", "candidate"],
    ]);
    expect(seen[0]).toMatchObject({
      pid: process.pid,
      since: expect.any(Date),
      lastSeenMs: expect.any(Number),
    });
    await a.stop();
    await host.advance(100);
    expect((await b.candidates()).map(({ holder, state }) => [holder, state])).toEqual([["b", "leader"]]);
  });

  it("shows the leader to an observer that does not stand, and each change", async () => {
    const observer = candidate("o");
    const seen: (string | undefined)[] = [];
    const controller = new AbortController();
    const watching = (async () => {
      for await (const leader of observer.observe({ signal: controller.signal }))
        seen.push((leader as LeaderInfo | null)?.holder);
    })();
    await host.advance(10);
    const a = candidate("a").start();
    await host.advance(ttlMs);
    await a.stop();
    await host.advance(ttlMs);
    candidate("b").start();
    await host.advance(ttlMs);
    controller.abort();
    await watching;
    expect(seen).toEqual([undefined, "a", undefined, "b"]);
    expect(observer.running).toBe(false);
  });

  it("runs onCycle every third of the ttl", async () => {
    let cycles = 0;
    candidate("a", { onCycle: () => void (cycles += 1) }).start();
    await host.advance(ttlMs * 3 + 10);
    expect(cycles).toBe(10);
  });

  it("runs onCycle every third of a ttl that is longer than a timer may be", async () => {
    let cycles = 0;
    candidate("a", { ttlMs: 86_400_000, onCycle: () => void (cycles += 1) }).start();
    await host.advance(28_700_000);
    expect(cycles).toBe(1);
    await host.advance(200_000);
    expect(cycles).toBe(2);
  });
});

describe("the life of a candidate", () => {
  it("ends with the coordinator's close, the lease released", async () => {
    const a = candidate("a", {
      onElected: ({ signal }) => until(signal, 100),
      status: { version: "1" },
    }).start();
    await host.advance(1500);
    const closing = coords[0]?.close();
    await host.advance(5000);
    await closing;
    await a.done;
    expect(a.running).toBe(false);
    expect([...store.store.records.values()].map(({ expiresAt }) => expiresAt)).toEqual([0, 0]);
    expect(host.timers.size).toBe(0);
    expect(() => a.start()).toThrow(/closed/);
  });

  it("can be started again after it was stopped, and a second start does nothing", async () => {
    const a = candidate("a").start().start();
    await host.advance(10);
    await a.stop();
    await a.stop();
    a.start();
    await host.advance(10);
    expect(a.isLeader).toBe(true);
    expect(events.filter((event) => event === "a elected")).toHaveLength(2);
  });

  it.each([
    [{ ttlMs: 1 }, /ttlMs must be an integer from 250/],
    [{ onElected: 7 }, /onElected must be a function, got 7/],
    [{ status: { at: 1n } }, /status\.at is 1n/],
    [{ status: { text: "x".repeat(5000) } }, /status has \d+ bytes as JSON, at most 4096/],
    [{ onLeader: () => {} }, /options may have ttlMs/],
  ])("refuses %o", (options, message) => {
    expect(() => candidate("a", options as never)).toThrow(message);
  });
});
