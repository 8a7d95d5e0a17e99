import { beforeEach, expect, it } from "vitest";
import type { Coordinator } from "../src/api.ts";
import { createCoordinator } from "../src/coordinator.ts";
import { tracingChannel } from "node:diagnostics_channel";
import type { OnceEvent } from "../src/events.ts";
import { notDone, unwrap } from "../src/once-outcome.ts";
import { FakeHost, fakeStore } from "./fake-host.ts";

let coord: Coordinator;

beforeEach(() => {
  const host = new FakeHost();
  coord = createCoordinator({ backend: fakeStore(host).backend, namespace: "n", host, cleanUp: false });
});

it("a wrapped function runs once per key and returns its response ever after", async () => {
  let runs = 0;
  const pay = coord.wrapOnce(
    (input: { order: number; amount: number }, { idempotencyKey }) => {
      runs += 1;
      return { paid: input.amount, idempotencyKey };
    },
    { key: ({ order }) => `order:${order}` },
  );
  const first = await pay({ order: 1, amount: 5 });
  expect(await pay({ order: 1, amount: 5 })).toEqual(first);
  await pay({ order: 2, amount: 5 });
  expect(runs).toBe(2);
  await expect(pay({ order: 1, amount: 6 })).rejects.toMatchObject({ code: "COORD_ONCE_INPUT_DIFFERS" });
});

it("a wrapped function throws what unwrap throws", async () => {
  const never = coord.wrapOnce(
    async (input: number) => {
      await new Promise(() => {});
      return input;
    },
    { key: String },
  );
  void never(1);
  await expect(never(1)).rejects.toMatchObject({ code: "COORD_EXECUTION_RUNNING" });
});

it("says what is wrong with its arguments", () => {
  expect(() => coord.wrapOnce(1 as never, { key: String })).toThrow("wrapOnce takes a function");
  expect(() => coord.wrapOnce((input: number) => input, {} as never)).toThrow("wrapOnce needs key");
});

it("tells the channel coord:once how each call ended", async () => {
  const seen: OnceEvent[] = [];
  const channel = tracingChannel<OnceEvent>("coord:once");
  const handlers = { asyncEnd: (event: OnceEvent) => void seen.push({ ...event }) };
  const subscribed = Object.assign({ start() {}, end() {}, asyncStart() {}, error() {} }, handlers);
  channel.subscribe(subscribed);
  try {
    const failing = (): never => {
      throw new Error("x");
    };
    await coord
      .once("k", () => {
        throw notDone(new Error("x"));
      })
      .catch(() => {});
    await coord.once("k", () => 1);
    await coord.once("k", () => 1);
    await coord.once("l", { onError: "final" }, failing).catch(() => {});
    await coord.once("l", () => 1).catch(() => {});
    await coord.once("m", failing).catch(() => {});
    await coord.once("m", () => 1);
  } finally {
    channel.unsubscribe(subscribed);
  }
  expect(seen.map(({ key, outcome, replayed, attempt }) => [key, outcome, replayed, attempt])).toEqual([
    ["k", "threw", false, 1],
    ["k", "completed", false, 2],
    ["k", "completed", true, 2],
    ["l", "threw", false, 1],
    ["l", "failed", true, 1],
    ["m", "threw", false, 1],
    ["m", "uncertain", false, 1],
  ]);
  expect(seen.every(({ kind, namespace }) => kind === "execution" && namespace === "n")).toBe(true);
});

it("notDone shows what it wraps wherever it ends up", () => {
  const cause = new Error("x");
  expect(notDone(cause)).toMatchObject({ name: "NotDone", cause });
  expect(unwrap({ status: "completed", key: "k", response: 1, replayed: true, fence: 1n, attempt: 1 })).toBe(
    1,
  );
});
