import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { describe, expect, it, onTestFinished } from "vitest";
import { assertFenced } from "../src/coordinator.ts";
import type { TermEnd } from "../src/election-api.ts";
import { ConfigurationError, StaleFenceError, UnavailableError } from "../src/errors.ts";
import {
  candidate,
  coords,
  countOf,
  electing,
  endless,
  events,
  host,
  store,
  ttlMs,
  until,
} from "./electing.ts";
import { fail, hang } from "./fake-host.ts";

electing();

const down = (): UnavailableError => new UnavailableError("down");
const held = (): string[] =>
  [...store.store.records.values()].filter(({ expiresAt }) => expiresAt > 0).map(({ holder }) => holder);

/** Runs at the instant between a grant's answer and anything that is done under it. */
function atGrant(run: () => void): void {
  subscribe("tracing:coord:hold:start", run);
  onTestFinished(() => void unsubscribe("tracing:coord:hold:start", run));
}

describe("a candidate that is stopped", () => {
  it("while it waits for a leader stands no more", async () => {
    candidate("a").start();
    await host.advance(10);
    const b = candidate("b").start();
    await host.advance(10);
    await b.stop();
    await b.done;
    expect([b.running, held()]).toEqual([false, ["a"]]);
  });

  it("while its win is on the way gives it back, and elects nobody", async () => {
    store.next("acquire", async (run) => {
      const won = await run();
      await new Promise<void>((resolve) => void host.setTimer(resolve, 300, true));
      return won;
    });
    const a = candidate("a").start();
    await host.advance(100);
    await a.stop();
    await host.advance(1000);
    expect(held()).toEqual([]);
    expect(events).toEqual(["a standing", "a stopped"]);
  });

  it("at the instant of its win elects nobody, and gives it back", async () => {
    const a = candidate("a", { onElected: () => void events.push("elected") });
    atGrant(() => void a.stop());
    a.start();
    await host.advance(10);
    expect(events).toEqual(["a standing", "a stopped"]);
    expect(held()).toEqual([]);
    expect(host.timers.size).toBe(0);
  });

  it("while the store hangs is stopped all the same, and what it held lapses", async () => {
    const a = candidate("a", { status: { version: "1" }, graceMs: 0 }).start();
    await host.advance(10);
    store.next("release", hang, 999);
    let stopped = false;
    void a.stop().then(() => (stopped = true));
    await host.advance(20_000);
    expect(stopped).toBe(true);
    expect(await a.leader()).toBeNull();
    expect(host.timers.size).toBe(0);
  });

  it("has given its lease and its presence up when that resolves, however short its graceMs", async () => {
    const a = candidate("a", { status: { version: "1" }, graceMs: 0 }).start();
    await host.advance(10);
    const slow = async (run: () => Promise<unknown>): Promise<unknown> => {
      await new Promise<void>((resolve) => void host.setTimer(resolve, 300, true));
      return run();
    };
    store.next("release", slow, 2);
    const heldAtStop: string[][] = [];
    void a.stop().then(() => heldAtStop.push(held()));
    await host.advance(1000);
    expect(heldAtStop).toEqual([[]]);
  });

  it("before it was started, or twice, has nothing to do", async () => {
    const a = candidate("a");
    await a.stop();
    await a.resign();
    await a.done;
    a.start();
    await host.advance(10);
    await Promise.all([a.stop(), a.stop(), a[Symbol.asyncDispose]()]);
    expect(events).toEqual(["a standing", "a elected", "a stopped", "a stopped"]);
  });
});

describe("a leader", () => {
  it("is none if its time was over before anything was done under the lease", async () => {
    let elected = 0;
    const a = candidate("a", { onElected: () => void (elected += 1) });
    let once = true;
    atGrant(() => {
      if (once) host.mono += ttlMs;
      once = false;
    });
    a.start();
    await host.advance(10);
    expect([elected, a.isLeader]).toEqual([0, false]);
    await host.advance(ttlMs);
    expect([elected, a.isLeader]).toEqual([1, true]);
  });

  it("finds its signal aborted when it wakes, before any timer had its turn", async () => {
    const a = candidate("a").start();
    await host.advance(10);
    const term = a.term;
    expect(term?.signal.aborted).toBe(false);
    host.mono += ttlMs;
    expect(term?.signal.aborted).toBe(true);
    expect(term?.signal.reason).toMatchObject({ code: "COORD_LEASE_LOST", reason: "deadline" });
  });

  it("keeps its process up until it is stopped", async () => {
    const a = candidate("a").start();
    await host.advance(10);
    expect([...host.timers].some(({ keepAlive }) => keepAlive)).toBe(true);
    await host.advance(7_300_000);
    expect([...host.timers].some(({ keepAlive }) => keepAlive)).toBe(true);
    expect(countOf("a elected")).toBe(1);
    await a.stop();
    expect(host.timers.size).toBe(0);
  });

  it("has a term that passes for a lease at the resource", async () => {
    const a = candidate("a").start();
    await host.advance(10);
    const { term } = a;
    if (term === undefined) throw new Error("nobody was elected");
    expect(() => assertFenced(term, 1)).not.toThrow();
    expect(() => assertFenced(term, 0)).toThrow(StaleFenceError);
    expect(() => assertFenced(term, 0)).toThrow(/"scheduler"/);
    expect(term.grant).toMatchObject({ fence: term.fence, name: { namespace: "default" } });
    expect(term.since.getTime()).toBe(host.wallMs() - 10);
  });

  it("leaves a record that is cleaned up a day after its end, and the terms go on rising", async () => {
    const a = candidate("a").start();
    await host.advance(10);
    const first = a.term?.fence ?? 0n;
    await a.stop();
    await host.advance(86_390_000);
    expect(await coords[0]?.prune()).toBe(0);
    await host.advance(20_000);
    expect(await coords[0]?.prune()).toBe(1);
    a.start();
    await host.advance(10);
    expect(a.term?.fence).toBeGreaterThan(first);
  });

  it("stands again after it was told that its lease is lost", async () => {
    const ends: TermEnd[] = [];
    const a = candidate("a", { onLost: (_, end) => void ends.push(end) }).start();
    await host.advance(10);
    const first = a.term?.fence ?? 0n;
    store.next("renew", async () => ["lost"]);
    await host.advance(ttlMs * 3);
    expect(ends).toEqual(["lost"]);
    expect(a.term?.fence).toBeGreaterThan(first);
  });
});

describe("a store that does not answer", () => {
  it("is told of at once and every ten seconds, while the candidate goes on", async () => {
    const errors: unknown[] = [];
    store.next("acquire", fail(down()), 9999);
    const a = candidate("a", { onError: (error) => void errors.push(error) }).start();
    await host.advance(10);
    expect(errors).toEqual([down()]);
    await host.advance(60_000);
    expect(errors.length).toBeGreaterThan(4);
    expect(errors.length).toBeLessThan(8);
    await a.stop();
    expect(host.timers.size).toBe(0);
  });

  it("with an error that a repeat does not help against is asked ever more seldom, up to a ttl", async () => {
    store.next("acquire", fail(new ConfigurationError("no table", { code: "COORD_NOT_SET_UP" })), 9999);
    const a = candidate("a").start();
    await host.advance(20 * ttlMs);
    expect(store.count("acquire")).toBeGreaterThan(20);
    expect(store.count("acquire")).toBeLessThan(35);
    expect(a.running).toBe(true);
  });

  it("has put the pause back to its start when the candidate was elected", async () => {
    store.next("acquire", fail(new ConfigurationError("no table", { code: "COORD_NOT_SET_UP" })), 10);
    const a = candidate("a").start();
    await host.advance(20 * ttlMs);
    expect(a.isLeader).toBe(true);
    await a.resign();
    await host.advance(500);
    expect(a.isLeader).toBe(true);
  });

  it("at a resignation is told of, and the lease lapses", async () => {
    const errors: unknown[] = [];
    const a = candidate("a", { onError: (error) => void errors.push(error) }).start();
    const b = candidate("b").start();
    await host.advance(10);
    store.next("release", fail(down()), 9999);
    let resigned = false;
    void a.resign().then(() => (resigned = true));
    await host.advance(ttlMs * 2);
    expect(resigned).toBe(true);
    expect(b.isLeader).toBe(true);
    expect(errors).toEqual([down()]);
  });

  it("can't be stood for while the clocks are too far apart, which is told", async () => {
    const errors: unknown[] = [];
    store.setSkew(5000);
    const a = candidate("a", { onError: (error) => void errors.push(error) }, { maxClockOffsetMs: 1000 });
    a.start();
    await host.advance(60_000);
    expect(events).not.toContain("a elected");
    expect(errors[0]).toMatchObject({ code: "COORD_CLOCK_OFFSET" });
    expect(errors.length).toBeLessThan(10);
    store.setSkew(0);
    await host.advance(2 * ttlMs);
    expect(a.isLeader).toBe(true);
  });

  it("to the question how far the clocks are apart delays no stop", async () => {
    store.next("diagnose", hang, 99);
    const a = candidate("a", {}, { maxClockOffsetMs: 1000 }).start();
    await host.advance(10);
    await a.stop();
    expect(a.running).toBe(false);
  });
});

describe("the close of a coordinator", () => {
  it("refuses a start, and leaves nothing running", async () => {
    const a = candidate("a");
    await coords[0]?.close();
    expect(() => a.start()).toThrow(/closed/);
    expect(a.running).toBe(false);
    await a.done;
    expect(host.timers.size).toBe(0);
  });

  it("refuses a start after a stop that still goes on", async () => {
    const { work } = endless();
    const a = candidate("a", { onElected: () => work, graceMs: 100 }).start();
    await host.advance(10);
    void a.stop();
    const closing = coords[0]?.close({ graceMs: 0 });
    expect(() => a.start()).toThrow(/closed/);
    await host.advance(5000);
    await closing;
    expect(a.running).toBe(false);
  });

  it("waits for the leader's work, and then releases", async () => {
    const a = candidate("a", { onElected: ({ signal }) => until(signal, 2000) }).start();
    await host.advance(10);
    const closing = coords[0]?.close({ graceMs: 5000 });
    await host.advance(1900);
    expect(held()).toEqual(["a"]);
    await host.advance(200);
    await closing;
    expect([held(), a.running]).toEqual([[], false]);
  });

  it("ends after its own graceMs, whatever the election's is", async () => {
    const { work } = endless();
    candidate("a", { onElected: () => work, graceMs: 3_600_000 }).start();
    await host.advance(10);
    let closed = false;
    void coords[0]?.close({ graceMs: 1000 }).then(() => (closed = true));
    await host.advance(2100);
    expect(closed).toBe(true);
    expect(held()).toEqual([]);
  });
});
