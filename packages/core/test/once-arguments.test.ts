import { beforeEach, describe, expect, it } from "vitest";
import type { Coordinator } from "../src/api.ts";
import { createCoordinator } from "../src/coordinator.ts";
import type { Execution } from "../src/once-api.ts";
import { FakeHost, fakeStore } from "./fake-host.ts";

let coord: Coordinator;
let runs: number;
const pay = (): number => (runs += 1);

beforeEach(() => {
  const host = new FakeHost();
  coord = createCoordinator({ backend: fakeStore(host).backend, namespace: "n", host, cleanUp: false });
  runs = 0;
});

describe("refused before anything runs, with the value, the rule and the remedy", () => {
  it.each<[string, (coord: Coordinator) => unknown, RegExp]>([
    ["an empty key", (c) => c.once("", pay), /key must not be empty/],
    ["no function", (c) => c.once("k", undefined as never), /once takes a function as its last argument/],
    [
      "a maxHoldMs below the ttl",
      (c) => c.once("k", { ttlMs: 5000, maxHoldMs: 4999 }, pay),
      /maxHoldMs must be an integer from 5000 .*got 4999\. .*at least ttlMs, which is 5000/,
    ],
    ["a bigint in the input", (c) => c.once("k", { input: { a: 1n } as never }, pay), /input\.a is 1n/],
    [
      "an input over 256 KiB",
      (c) => c.once("k", { input: "x".repeat(262_143) }, pay),
      /input has 262145 bytes as JSON, at most 262144 are kept/,
    ],
    [
      "an unknown onError",
      (c) => c.once("k", { onError: "retry" as never }, pay),
      /"retryable", "final", got "retry"/,
    ],
    ["a misspelt option", (c) => c.once("k", { ttl: 5 } as never, pay), /got "ttl"\. Check the spelling/],
    ["wrapOnce without a key", async (c) => c.wrapOnce(pay, {} as never), /wrapOnce needs key/],
    [
      "wrapOnce without options",
      async (c) => c.wrapOnce(pay, undefined as never),
      /wrapOnce needs key.*got undefined/,
    ],
  ])("%s", async (_, call, message) => {
    await expect(call(coord)).rejects.toThrow(message);
    await expect(call(coord)).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
    expect(runs).toBe(0);
    expect(await coord.executions.get("k")).toBeNull();
  });
});

describe("a response that can't be kept is on the error of the first caller, and the record says that it is done", () => {
  it.each<[string, unknown, RegExp]>([
    ["a bigint", { id: 7n }, /response\.id is 7n, which JSON does not keep/],
    ["a date", { at: new Date(0) }, /response\.at is an object \(Date\)/],
    ["NaN", [Number.NaN], /response\[0\] is NaN/],
    ["over 256 KiB", "x".repeat(262_143), /response has 262145 bytes as JSON, at most 262144 are kept/],
  ])("%s", async (_, response, message) => {
    const work = (): never => {
      runs += 1;
      return response as never;
    };
    const first = coord.once("k", work);
    await expect(first).rejects.toMatchObject({ code: "COORD_RESPONSE_NOT_STORED", response });
    await expect(first).rejects.toThrow(message);
    await expect(coord.once("k", work)).rejects.toThrow(message);
    expect(runs).toBe(1);
    expect(await coord.executions.get("k")).toMatchObject({
      status: "completed",
      notStored: expect.stringMatching(message),
    });
  });
});

it("complete without its options says what it needs", async () => {
  const complete = (_: undefined, execution: Execution) => execution.complete(1, undefined as never);
  await expect(coord.once("k", complete)).rejects.toThrow(/within must be what backend\.within/);
});
