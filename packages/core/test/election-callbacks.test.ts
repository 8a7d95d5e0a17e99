import { describe, expect, it } from "vitest";
import type { TermEnd } from "../src/election-api.ts";
import { LeaseLostError } from "../src/errors.ts";
import { candidate, countOf, electing, endless, events, host, ttlMs, until } from "./electing.ts";

electing();

describe("a callback sees the election as it is", () => {
  it("is the leader's from its first line on", async () => {
    const seen: unknown[] = [];
    const a = candidate("a", { onElected: (term) => void seen.push(a.isLeader, a.term === term) });
    a.start();
    await host.advance(10);
    expect(seen).toEqual([true, true]);
  });

  it("may resign from its first line on", async () => {
    const ends: TermEnd[] = [];
    const a = candidate("a", {
      onElected: () => void a.resign(),
      onLost: (_, end) => void ends.push(end),
    });
    a.start();
    await host.advance(100);
    expect(ends).toEqual(["resigned"]);
  });

  it("resigns without waiting for itself, and the lease is released when it has settled", async () => {
    const steps: string[] = [];
    const a = candidate("a", {
      async onElected() {
        await a.resign();
        steps.push("resigned");
        await new Promise<void>((resolve) => void host.setTimer(resolve, 500, true));
        steps.push((await a.leader()) === null ? "free" : "kept");
      },
    });
    a.start();
    await host.advance(510);
    expect(steps).toEqual(["resigned", "kept"]);
    expect(await a.leader()).toBeNull();
    expect(events).not.toContain("a stuck");
  });

  it.each(["onElected", "onLost", "onCycle"] as const)(
    "stops without waiting for itself in %s",
    async (name) => {
      let stopped = false;
      const a = candidate("a", {
        async [name]() {
          await a.stop();
          stopped = true;
        },
      });
      a.start();
      await host.advance(10);
      if (name === "onLost") await a.resign();
      await host.advance(10);
      expect(stopped).toBe(true);
      await a.done;
      expect(a.running).toBe(false);
      expect(host.timers.size).toBe(0);
    },
  );

  it("waits for the work again when that was called from what it left behind", async () => {
    const { work, finish } = endless();
    let settled = false;
    const a = candidate("a", {
      onElected: () => void host.setTimer(() => void a.stop().then(() => (settled = true)), 100, true),
      onLost: () => work,
    });
    a.start();
    await host.advance(1000);
    expect(settled).toBe(false);
    finish();
    await host.advance(1);
    expect(settled).toBe(true);
  });
});

describe("a callback that throws", () => {
  it.each([
    ["the reason of the term's end", (signal: AbortSignal) => signal.reason as Error],
    ["an error that has it as its cause", (s: AbortSignal) => new Error("job ended", { cause: s.reason })],
    ["an AbortError", () => new DOMException("aborted", "AbortError")],
    [
      "what verify says of a lost lease",
      () => new LeaseLostError({ key: "k", fence: 1n }, "refused", "lost"),
    ],
  ])("with %s has only ended with its term", async (_, thrown) => {
    const errors: unknown[] = [];
    const a = candidate("a", {
      onElected: ({ signal }) => until(signal).then(() => Promise.reject(thrown(signal))),
      onError: (error) => void errors.push(error),
    });
    a.start();
    for (let terms = 1; terms <= 5; terms += 1) {
      await host.advance(500);
      expect(countOf("a elected")).toBe(terms);
      await a.resign();
    }
    expect(errors).toEqual([]);
  });

  it("with anything else after its term ended is told, and is still no reason not to stand", async () => {
    const errors: unknown[] = [];
    const a = candidate("a", {
      onElected: ({ signal }) => until(signal).then(() => Promise.reject(new Error("disk full"))),
      onError: (error) => void errors.push(error),
    });
    a.start();
    await host.advance(10);
    await a.resign();
    await host.advance(ttlMs);
    expect(errors).toEqual([new Error("disk full")]);
    expect(events.filter((event) => event !== "a standing")).toEqual([
      "a elected",
      "a error",
      "a resigned",
      "a elected",
    ]);
  });

  it("with an AbortError of its own while it leads has failed", async () => {
    const ends: TermEnd[] = [];
    const onElected = () => Promise.reject(new DOMException("too slow", "AbortError"));
    candidate("a", { onElected, onLost: (_, end) => void ends.push(end) }).start();
    await host.advance(10);
    expect(ends).toEqual(["failed"]);
  });

  it("is told to an onError that rejects too, which is an event", async () => {
    const bad = async (): Promise<never> => Promise.reject(new Error("bad"));
    const onError: (error: unknown) => unknown = bad;
    const a = candidate("a", { onCycle: bad, onError });
    a.start();
    await host.advance(10);
    expect(events.filter((event) => event === "a error")).toHaveLength(2);
    expect(a.isLeader).toBe(true);
  });

  it("does not hurry a candidate that another one's term has calmed", async () => {
    let failing = true;
    const a = candidate("a", {
      onElected: ({ signal }) => (failing ? Promise.reject(new Error("no")) : until(signal)),
    });
    a.start();
    await host.advance(ttlMs * 5);
    failing = false;
    await host.advance(ttlMs);
    expect(a.isLeader).toBe(true);
    await a.resign();
    // The term that went well has put the pause back to its start.
    await host.advance(500);
    expect(a.isLeader).toBe(true);
  });
});

describe("a callback that is stuck", () => {
  it("is told of every minute, once to onError, and holds up nothing but its own candidate", async () => {
    const { work, finish } = endless();
    const errors: string[] = [];
    const a = candidate("a", {
      onElected: () => work,
      onError: (error) => void errors.push(String(error)),
      graceMs: 1000,
    }).start();
    const b = candidate("b").start();
    await host.advance(10);
    void a.resign();
    await host.advance(ttlMs + 1100);
    expect(b.isLeader).toBe(true);
    await host.advance(180_000);
    expect(countOf("a stuck")).toBe(4);
    expect(errors).toEqual([expect.stringMatching(/onElected of the election "scheduler" does not settle/)]);
    finish();
    await host.advance(1000);
    expect(countOf("a standing")).toBe(2);
    await host.advance(180_000);
    expect(countOf("a stuck")).toBe(4);
  });

  it("in onLost is told of after a minute, and the candidate stands when it has settled", async () => {
    const { work, finish } = endless();
    const a = candidate("a", { onLost: () => work }).start();
    await host.advance(10);
    await a.resign();
    await host.advance(59_000);
    expect(countOf("a stuck")).toBe(0);
    await host.advance(61_000);
    expect(countOf("a stuck")).toBe(2);
    finish();
    await host.advance(1000);
    expect(a.isLeader).toBe(true);
  });

  it("in onCycle is told of after a minute, is not called again meanwhile, and the candidate leads", async () => {
    const { work, finish } = endless();
    let cycles = 0;
    const onCycle = (): Promise<void> => ((cycles += 1), work);
    const a = candidate("a", { onCycle }).start();
    await host.advance(61_000);
    expect([cycles, countOf("a stuck"), a.isLeader]).toEqual([1, 1, true]);
    finish();
    await host.advance(ttlMs);
    expect(cycles).toBeGreaterThan(2);
  });

  it.each(["onElected", "onLost", "onCycle"] as const)(
    "in %s delays a stop by graceMs and no longer, done until it has settled, and keeps no process up",
    async (name) => {
      const { work, finish } = endless();
      const a = candidate("a", { [name]: () => work, graceMs: 1000, status: { version: "1" } }).start();
      await host.advance(10);
      let stopped = false;
      let done = false;
      void a.stop().then(() => (stopped = true));
      void a.done.then(() => (done = true));
      await host.advance(990);
      expect(stopped).toBe(false);
      await host.advance(20);
      expect([stopped, done, a.running]).toEqual([true, false, false]);
      expect(await a.candidates()).toEqual([]);
      await host.advance(10 * ttlMs);
      expect([...host.timers].filter(({ keepAlive }) => keepAlive)).toEqual([]);
      finish();
      await host.advance(10);
      expect(done).toBe(true);
      expect(host.timers.size).toBe(0);
    },
  );

  it("that was told of before delays no stop any more, nor keeps the candidate listed", async () => {
    const { work } = endless();
    const options = { onElected: () => work, graceMs: 1000, status: { version: "1" } };
    const a = candidate("a", options).start();
    await host.advance(10);
    void a.resign();
    await host.advance(5000);
    let stopped = false;
    void a.stop().then(() => (stopped = true));
    await host.advance(10);
    expect(await a.candidates()).toEqual([]);
    await host.advance(1000);
    expect(stopped).toBe(true);
  });

  it("delays the start after a stop, which nobody needs to repeat", async () => {
    const { work, finish } = endless();
    const a = candidate("a", { onElected: () => work, graceMs: 100 }).start();
    await host.advance(10);
    void a.stop();
    await host.advance(200);
    a.start();
    expect(a.running).toBe(true);
    await host.advance(ttlMs * 2);
    expect(countOf("a elected")).toBe(1);
    finish();
    await host.advance(10);
    expect(countOf("a elected")).toBe(2);
    void a.stop();
    await a.done;
    expect(a.running).toBe(false);
  });

  it("delays a start that a second stop takes back", async () => {
    const { work, finish } = endless();
    const a = candidate("a", { onElected: () => work, graceMs: 100 }).start();
    await host.advance(10);
    void a.stop();
    a.start();
    void a.stop();
    await host.advance(200);
    finish();
    await host.advance(ttlMs);
    await a.done;
    expect([countOf("a elected"), a.running]).toEqual([1, false]);
  });
});
