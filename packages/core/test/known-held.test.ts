import { beforeEach, describe, expect, it } from "vitest";
import type { Coordinator, CoordinatorOptions } from "../src/api.ts";
import { createCoordinator } from "../src/coordinator.ts";
import { FakeHost, fakeStore } from "./fake-host.ts";

const ttlMs = 3000;
let host: FakeHost;
let store: ReturnType<typeof fakeStore>;
let holder: Coordinator;
let asker: Coordinator;

const coordinator = (change: Partial<CoordinatorOptions>): Coordinator =>
  createCoordinator({
    backend: store.backend,
    namespace: "n",
    defaults: { ttlMs, waitMs: 0 },
    host,
    cleanUp: false,
    ...change,
  });

beforeEach(() => {
  host = new FakeHost();
  store = fakeStore(host);
  holder = coordinator({ holder: "other" });
  asker = coordinator({ holder: "me", rememberHeld: true });
});

/** How many acquires reach the store while `work` runs. */
async function requests(work: () => Promise<unknown>): Promise<number> {
  const before = store.count("acquire");
  await work();
  return store.count("acquire") - before;
}

describe("with rememberHeld", () => {
  it("tryAcquire asks once, and answers from memory until the lease could have lapsed", async () => {
    await holder.acquire("k", { renew: false });
    expect(await requests(() => asker.tryAcquire("k"))).toBe(1);
    await host.advance(ttlMs - 10);
    expect(await requests(async () => expect(await asker.tryAcquire("k")).toBeNull())).toBe(0);
    await host.advance(20);
    expect(await requests(async () => expect(await asker.tryAcquire("k")).not.toBeNull())).toBe(1);
  });

  it("tryWithLease says who holds it and for how long, also from memory", async () => {
    await holder.acquire("k", { renew: false });
    await asker.tryAcquire("k");
    await host.advance(1000);
    const result = await asker.tryWithLease("k", () => {});
    expect(result).toMatchObject({ acquired: false, holder: "other" });
    expect(result).toHaveProperty("remainingMs", expect.closeTo(ttlMs - 1000, -2));
  });

  it("counts the time from before the request was sent", async () => {
    await holder.acquire("k", { renew: false });
    store.next("acquire", async (run) => {
      const answer = await run();
      await new Promise<void>((resolve) => void host.setTimer(resolve, 500, true));
      return answer;
    });
    const asked = asker.tryAcquire("k");
    await host.advance(500);
    await asked;
    // The store said 3000 ms at the start; counted from the answer it would be remembered for 500 ms too long.
    await host.advance(ttlMs - 500);
    expect(await requests(() => asker.tryAcquire("k"))).toBe(1);
  });

  it("what waits asks the store, and what it wins is forgotten", async () => {
    const lease = await holder.acquire("k");
    await asker.tryAcquire("k");
    await lease.release();
    const mine = await asker.acquire("k", { waitMs: 100 });
    await mine.release();
    expect(await asker.tryAcquire("k")).not.toBeNull();
  });

  it("asks for what this holder holds itself, and for what it has broken", async () => {
    const mine = await asker.acquire("mine");
    expect(await requests(() => asker.tryAcquire("mine"))).toBe(1);
    await mine.release();
    expect(await asker.tryAcquire("mine")).not.toBeNull();
    const theirs = await holder.acquire("theirs");
    await asker.tryAcquire("theirs");
    await asker.breakLease("theirs", { fence: theirs.fence, by: "me", now: true });
    expect(await asker.tryAcquire("theirs")).not.toBeNull();
  });
});

it("every tryAcquire asks the store unless told otherwise", async () => {
  const plain = coordinator({ holder: "me" });
  await holder.acquire("k");
  expect(
    await requests(async () => {
      await plain.tryAcquire("k");
      await plain.tryAcquire("k");
    }),
  ).toBe(2);
});
