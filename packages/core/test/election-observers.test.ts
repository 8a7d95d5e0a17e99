import { getEventListeners } from "node:events";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Subscription } from "../src/backend.ts";
import { createCoordinator } from "../src/coordinator.ts";
import type { LeaderInfo } from "../src/election-api.ts";
import { ConfigurationError, UnavailableError } from "../src/errors.ts";
import { candidate, coords, electing, host, store, ttlMs, until } from "./electing.ts";
import { fail, hang } from "./fake-host.ts";

electing();

const down = (): UnavailableError => new UnavailableError("down");

/** What an observer has seen, and what became of it. */
function observing(options: Parameters<typeof candidate>[1] = {}, signal?: AbortSignal) {
  const seen: (string | undefined)[] = [];
  const result: { seen: typeof seen; outcome: unknown } = { seen, outcome: "goes on" };
  const observer = candidate("o", options);
  (async () => {
    for await (const leader of observer.observe({ signal })) seen.push(leader?.holder);
  })().then(
    () => (result.outcome = "ended"),
    (error: unknown) => (result.outcome = error),
  );
  return result;
}

describe("an observer", () => {
  it("sees that a dead leader's time is over, whatever its own ttl is", async () => {
    candidate("a").start();
    await host.advance(10);
    const observed = observing({ ttlMs: 60_000 });
    await host.advance(10);
    store.next("renew", hang, 999);
    store.next("acquire", hang, 999);
    await host.advance(ttlMs + 100);
    expect(observed.seen).toEqual(["a", undefined]);
  });

  it("sees a new leader soon, though nothing wakes for a grant", async () => {
    const a = candidate("a").start();
    await host.advance(10);
    const observed = observing();
    await host.advance(10);
    await a.stop();
    await host.advance(1);
    candidate("b").start();
    await host.advance(300);
    expect(observed.seen.at(-1)).toBe("b");
  });

  it("goes on while the store does not answer, which is told and is no change", async () => {
    const errors: unknown[] = [];
    candidate("a").start();
    await host.advance(10);
    const observed = observing({ onError: (error) => void errors.push(error) });
    await host.advance(10);
    store.next("inspect", fail(down()), 3);
    await host.advance(ttlMs * 4);
    expect(errors).toEqual([down(), down(), down()]);
    expect(observed).toEqual({ seen: ["a"], outcome: "goes on" });
  });

  it("fails with what a repeat does not help against", async () => {
    const missing = new ConfigurationError("no such table", { code: "COORD_NOT_SET_UP" });
    store.next("inspect", fail(missing));
    const observed = observing();
    await host.advance(10);
    expect(observed.outcome).toBe(missing);
    expect(host.timers.size).toBe(0);
  });

  it("asks ever more seldom while nobody leads", async () => {
    observing();
    await host.advance(3_600_000);
    expect(store.count("inspect")).toBeLessThan(3_600_000 / 400);
  });

  it.each([
    ["the store hangs", (): void => store.next("inspect", hang, 999)],
    ["a subscription hangs", (): void => store.next("watch", hang, 999)],
    ["it waits", (): void => {}],
  ])("ends with its signal while %s, and leaves nothing behind", async (_, arrange) => {
    arrange();
    const controller = new AbortController();
    const observed = observing({}, controller.signal);
    await host.advance(50);
    controller.abort();
    await host.advance(0);
    expect(observed.outcome).toBe("ended");
    expect(host.timers.size).toBe(0);
  });

  it("that was left listens to nothing any more", async () => {
    const { signal } = new AbortController();
    const closed: string[] = [];
    store.next("watch", async (run) => {
      const subscription = (await run()) as Subscription;
      const close = (): Promise<void> => (closed.push("closed"), subscription.close());
      return { live: true, close };
    });
    for await (const leader of candidate("o").observe({ signal })) {
      expect(leader).toBeNull();
      expect(getEventListeners(signal, "abort")).toHaveLength(1);
      break;
    }
    expect(getEventListeners(signal, "abort")).toEqual([]);
    expect(closed).toEqual(["closed"]);
  });

  it("ends with the close of its coordinator, also while it waits", async () => {
    const observed = observing();
    await host.advance(10);
    const closing = coords[0]?.close();
    await host.advance(6000);
    await closing;
    expect(observed.outcome).toBe("ended");
    expect(host.timers.size).toBe(0);
  });

  it("that begins after the close ends at once", async () => {
    const o = candidate("o");
    await coords[0]?.close();
    const iterator = o.observe()[Symbol.asyncIterator]();
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it("can be left while it waits for a change that may never come", async () => {
    const iterator = candidate("o").observe()[Symbol.asyncIterator]();
    expect(await iterator.next()).toEqual({ done: false, value: null });
    const next = iterator.next();
    await host.advance(10);
    const left = iterator.return?.();
    expect(await next).toEqual({ done: true, value: undefined });
    await left;
    expect(host.timers.size).toBe(0);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it("can be left before it looked, and looked through twice", async () => {
    const observed = candidate("o").observe();
    await observed[Symbol.asyncIterator]().return?.();
    const leaders: (LeaderInfo | null)[] = [];
    for await (const leader of observed) {
      leaders.push(leader);
      break;
    }
    for await (const leader of observed) {
      leaders.push(leader);
      break;
    }
    expect(leaders).toEqual([null, null]);
    expect(host.timers.size).toBe(0);
  });

  it.each([
    [{ signal: "no" }, /signal must be an AbortSignal, got "no"/],
    [{ sginal: undefined }, /options may have signal, got "sginal"/],
  ])("refuses %o before anything happens", (options, message) => {
    expect(() => candidate("o").observe(options as never)).toThrow(message);
  });
});

describe("the presence of a candidate", () => {
  const status = { version: "1" };

  it("stays while its term ends, and goes with its lease", async () => {
    const a = candidate("a", { status, onElected: ({ signal }) => until(signal, 1000) }).start();
    await host.advance(10);
    const stopped = a.stop();
    await host.advance(900);
    expect((await a.candidates()).map(({ id, state }) => [id, state])).toEqual([[a.id, "leader"]]);
    await host.advance(200);
    await stopped;
    expect(await a.candidates()).toEqual([]);
  });

  it("comes back whenever it is lost, without a warning about listeners", async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on("warning", onWarning);
    onTestFinished(() => void process.off("warning", onWarning));
    const a = candidate("a", { status }).start();
    const b = candidate("b").start();
    await host.advance(10);
    for (let losses = 0; losses < 30; losses += 1) {
      store.next("renew", async () => ["lost", "lost"]);
      await host.advance(ttlMs * 2);
      expect(await b.candidates()).toHaveLength(1);
    }
    await host.settle();
    await a.stop();
    expect(warnings).toEqual([]);
  });

  it("is no condition for standing", async () => {
    const down = new UnavailableError("down");
    const errors: unknown[] = [];
    const a = candidate("a", { status, onError: (error) => void errors.push(error) });
    // The first request is that of the presence, the second that of the election.
    const isStanding = (): boolean => store.count("acquire") === 2;
    const act = async (run: () => Promise<unknown>): Promise<unknown> =>
      isStanding() || host.mono > ttlMs ? run() : Promise.reject(down);
    store.next("acquire", act, 999);
    a.start();
    await host.advance(ttlMs);
    expect([a.isLeader, errors]).toEqual([true, [down]]);
    await host.advance(ttlMs);
    expect(await a.candidates()).toHaveLength(1);
  });

  it("is told apart by its id, where holders are alike, and says when it was seen last", async () => {
    const a = candidate("same", { status }).start();
    await host.advance(10);
    const b = candidate("same", { status }).start();
    await host.advance(500);
    const seen = await a.candidates();
    expect(seen.map(({ id, state }) => [id, state]).toSorted()).toEqual(
      [
        [a.id, "leader"],
        [b.id, "candidate"],
      ].toSorted(),
    );
    expect(seen.map(({ lastSeenMs }) => lastSeenMs).toSorted((x, y) => x - y)).toEqual([500, 510]);
  });

  it("that lapsed while the others were read is not shown", async () => {
    const a = candidate("a", { status }).start();
    await host.advance(10);
    store.next("list", async (run) => {
      const page = await run();
      host.mono += 2 * ttlMs;
      return page;
    });
    expect(await a.candidates()).toEqual([]);
  });

  it("takes a little of the name's length, which is refused before anything happens", () => {
    const coord = createCoordinator({ backend: store.backend, host, cleanUp: false });
    expect(() => coord.elect("x".repeat(490), { status })).toThrow(
      /at most 489 bytes where a status is given/,
    );
    expect(() => coord.elect("x".repeat(490))).not.toThrow();
    expect(() => coord.elect("x".repeat(489), { status })).not.toThrow();
  });

  it("is read a few at a time, and what no candidate wrote is not shown", async () => {
    const all = Array.from({ length: 40 }, (_, i) => candidate(`c${i}`, { status: { version: String(i) } }));
    for (const each of all) each.start();
    await host.advance(10);
    const call = { signal: new AbortController().signal, timeoutMs: 1000 };
    for (const [i, payload] of ["{", "null", '{"host":1}', undefined].entries()) {
      const name = { namespace: "default", key: `c\u001Fscheduler\u001Ffake${i}` };
      const common = { holder: "x", ttlMs: 60_000, sealed: false, retainMs: null };
      await store.inner.acquire({ name, grantId: `g${i}`, payload, ...common }, call);
    }
    let open = 0;
    let most = 0;
    store.next(
      "inspect",
      async (run) => {
        most = Math.max(most, (open += 1));
        await host.settle();
        open -= 1;
        return run();
      },
      999,
    );
    const candidates = await all[0]?.candidates();
    expect(candidates?.map(({ version }) => Number(version)).toSorted((a, b) => a - b)).toEqual(
      all.map((_, i) => i),
    );
    expect(candidates?.filter(({ state }) => state === "leader")).toHaveLength(1);
    expect(most).toBe(16);
  });

  it("is kept for a minute after its end, and then cleaned up", async () => {
    const a = candidate("a", { status }).start();
    await host.advance(10);
    await a.stop();
    const presence = [...store.store.records.values()].find(({ key }) => key.startsWith("c"));
    expect(presence?.retainMs).toBe(60_000);
    await host.advance(59_000);
    expect(await coords[0]?.prune()).toBe(0);
    await host.advance(2000);
    expect(await coords[0]?.prune()).toBe(1);
  });

  it.each([
    [{ status: "1.2" }, /status must be an object, got "1.2"/],
    [{ status: ["1.2"] }, /status must be an object, got an array/],
    [{ status: null }, /status must be an object, got null/],
    [{ status: { version: 12 } }, /status\.version must be a string, got 12/],
    [{ graceMs: 3_600_001 }, /graceMs must be an integer from 0 to 3600000/],
    [{ holder: "a\nb" }, /holder must not contain control characters/],
  ])("and of an election is refused with %o before anything happens", (options, message) => {
    expect(() => candidate("a", options as never)).toThrow(message);
    expect(store.calls).toEqual([]);
  });
});
