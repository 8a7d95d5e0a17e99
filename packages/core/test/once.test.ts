import { beforeEach, describe, expect, it } from "vitest";
import type { Coordinator, CoordinatorOptions } from "../src/api.ts";
import { createCoordinator } from "../src/coordinator.ts";
import { InvalidArgumentError, LeaseLostError, UnavailableError } from "../src/errors.ts";
import type { Execution } from "../src/once-api.ts";
import { notDone, unwrap } from "../src/once-outcome.ts";
import { fail, failAfter, FakeHost, fakeStore, hang, loseReply } from "./fake-host.ts";

const ttlMs = 3000;
let host: FakeHost;
let store: ReturnType<typeof fakeStore>;
let coord: Coordinator;

function coordinator(change: Partial<CoordinatorOptions> = {}): Coordinator {
  const defaults = { ttlMs };
  return createCoordinator({
    backend: store.backend,
    namespace: "n",
    defaults,
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

/** A function that counts its runs and ends when it is told to. */
function controlled<T = number>() {
  const ends: { resolve: (value: T) => void; reject: (error: unknown) => void }[] = [];
  const executions: Execution[] = [];
  return {
    executions,
    get runs() {
      return executions.length;
    },
    resolve: (value: T) => ends.at(-1)?.resolve(value),
    reject: (error: unknown) => ends.at(-1)?.reject(error),
    work: (_: unknown, execution: Execution): Promise<T> => {
      executions.push(execution);
      return new Promise<T>((resolve, reject) => void ends.push({ resolve, reject }));
    },
  };
}

/** A claim whose process died: it lapses, and nobody ever ends it. */
async function orphan(key: string, waitMs = 2 * ttlMs + 1, input?: number): Promise<void> {
  const dead = controlled();
  void coordinator().once(key, { maxHoldMs: ttlMs, input }, dead.work);
  await host.settle();
  await host.advance(waitMs);
}

describe("a first call and its replays", () => {
  it("take two round trips and one, and answer alike", async () => {
    const work = (input: { amount: number }): { id: string; amount: number } => ({ id: "ch_1", ...input });
    const first = await coord.once("k", { input: { amount: 5 } }, work);
    expect(store.calls).toEqual(["acquire", "release"]);
    const second = await coordinator().once("k", { input: { amount: 5 } }, work);
    expect(store.calls).toEqual(["acquire", "release", "acquire"]);
    expect(first).toMatchObject({ status: "completed", replayed: false, attempt: 1 });
    expect(second).toEqual({ ...first, replayed: true });
    expect(unwrap(second)).toEqual({ id: "ch_1", amount: 5 });
  });

  it("run the function once though a hundred call at the same time", async () => {
    let runs = 0;
    const calls = Array.from({ length: 100 }, () =>
      coord.once("k", { waitMs: 10_000 }, async () => {
        runs += 1;
        await new Promise<void>((resolve) => void host.setTimer(resolve, 500, true));
        return runs;
      }),
    );
    const settled = Promise.all(calls);
    await host.advance(3000);
    expect(new Set((await settled).map(unwrap))).toEqual(new Set([1]));
    expect(runs).toBe(1);
  });

  it("give every caller a copy that went through JSON", async () => {
    const response = { at: undefined, list: [1] };
    const first = unwrap(await coord.once("k", () => response));
    expect(first).not.toBe(response);
    expect(first).toEqual({ list: [1] });
    expect(Object.keys(first)).toEqual(["list"]);
  });

  it("may have no response at all", async () => {
    expect(await coord.once("k", () => {})).toMatchObject({ status: "completed", response: undefined });
    expect(await coord.once("k", () => {})).toMatchObject({ status: "completed", replayed: true });
  });

  it("hand the same idempotency key to every attempt, and another one to another key or namespace", async () => {
    const keys: string[] = [];
    const work = (_: undefined, { idempotencyKey }: Execution): never => {
      keys.push(idempotencyKey);
      throw notDone(new Error("again"));
    };
    const other = coordinator({ namespace: "other" });
    for (const [each, key] of [
      [coord, "k"],
      [coord, "k"],
      [coord, "l"],
      [other, "k"],
    ] as const)
      await expect(each.once(key, work)).rejects.toThrow("again");
    expect(keys[0]).toMatch(/^[\w-]{43}$/);
    expect(keys[1]).toBe(keys[0]);
    expect(new Set(keys).size).toBe(3);
  });

  it("forget the key after retainMs and not before", async () => {
    await coord.once("k", { retainMs: 3_600_000 }, () => 1);
    await host.advance(3_600_000);
    await coord.prune();
    expect(unwrap(await coord.once("k", () => 2))).toBe(1);
    await host.advance(2);
    await coord.prune();
    expect(unwrap(await coord.once("k", () => 2))).toBe(2);
  });
});

describe("while it runs", () => {
  it("others are told so in one round trip, and wait for the answer with waitMs", async () => {
    const job = controlled();
    const running = coord.once("k", job.work);
    await host.settle();
    const other = coordinator({ holder: "b" });
    const told = await other.once("k", job.work);
    expect(told).toMatchObject({ status: "running", remainingMs: ttlMs });
    expect(() => unwrap(told)).toThrow(expect.objectContaining({ code: "COORD_EXECUTION_RUNNING" }));
    expect(store.calls).toEqual(["acquire", "acquire"]);
    const waiting = other.once("k", { waitMs: 5000 }, job.work);
    await host.advance(1000);
    job.resolve(7);
    await host.advance(1000);
    expect(await waiting).toMatchObject({ status: "completed", response: 7, replayed: true });
    expect((await running).status).toBe("completed");
    expect(job.runs).toBe(1);
  });

  it("who waits in vain is told so", async () => {
    const job = controlled();
    void coord.once("k", job.work);
    await host.settle();
    for (const each of [coord, coordinator()]) {
      const waiting = each.once("k", { waitMs: 2000 }, job.work);
      await host.advance(2500);
      expect(await waiting).toMatchObject({ status: "running" });
    }
  });

  it("who waits may stop waiting", async () => {
    const job = controlled();
    void coord.once("k", job.work);
    await host.settle();
    const stop = new AbortController();
    const waiting = coord.once("k", { waitMs: Infinity, signal: stop.signal }, job.work);
    await host.advance(500);
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });

  it("the claim is renewed, and never past maxHoldMs", async () => {
    const job = controlled();
    void coord.once("k", { maxHoldMs: 7000 }, job.work);
    await host.advance(6990);
    expect(job.executions[0]?.signal.aborted).toBe(false);
    await host.advance(20);
    expect(job.executions[0]?.signal.reason).toMatchObject({ reason: "overheld" });
    await host.advance(ttlMs);
    expect((await coord.executions.get("k"))?.status).toBe("uncertain");
  });

  it("maxHoldMs is ten times the ttl", async () => {
    const job = controlled();
    void coord.once("k", job.work);
    await host.advance(10 * ttlMs + 1);
    expect(job.executions[0]?.signal.reason).toMatchObject({ reason: "overheld" });
  });

  it("calling it from within itself is found out", async () => {
    const inner = (): Promise<unknown> => coord.once("k", () => 1);
    const running = coord.once("k", async () => {
      await inner();
    });
    await expect(running).rejects.toMatchObject({ code: "COORD_REENTRANT" });
  });

  it("a lease of the same key is another thing", async () => {
    expect(unwrap(await coord.withLease("k", () => coord.once("k", () => 3)))).toBe(3);
    expect(await coord.once("l", () => coord.withLease("l", () => 4))).toMatchObject({ response: 4 });
  });
});

describe("an outcome that comes late", () => {
  it("is recorded all the same while nobody intervened", async () => {
    const job = controlled();
    const running = coord.once("k", { maxHoldMs: ttlMs }, job.work);
    await host.advance(2 * ttlMs);
    expect(await coord.once("k", job.work)).toMatchObject({ status: "uncertain" });
    job.resolve(7);
    expect(await running).toMatchObject({ status: "completed", response: 7 });
    expect(unwrap(await coord.once("k", job.work))).toBe(7);
    expect(job.runs).toBe(1);
  });

  it("is superseded, and the error carries the response, when somebody intervened", async () => {
    const job = controlled();
    const running = coord.once("k", { maxHoldMs: ttlMs }, job.work);
    await host.advance(2 * ttlMs);
    const { fence } = (await coord.executions.get("k")) ?? { fence: 0n };
    await coord.executions.resolve("k", { fence, by: "ann", as: "completed", response: 1 });
    job.resolve(7);
    await expect(running).rejects.toMatchObject({ code: "COORD_OUTCOME_SUPERSEDED", response: 7 });
    expect(unwrap(await coord.once("k", job.work))).toBe(1);
  });

  it("is recorded though the answer to the release was lost", async () => {
    store.next("release", loseReply);
    const running = coord.once("k", () => 7);
    await host.advance(2 * ttlMs);
    expect(await running).toMatchObject({ status: "completed", response: 7 });
    expect(unwrap(await coord.once("k", () => 8))).toBe(7);
  });

  it("is told by an error with the response when the store can't be reached, and recorded when it can", async () => {
    store.next("release", fail(new UnavailableError("down")), 20);
    const running = expect(coord.once("k", () => 7)).rejects.toMatchObject({
      code: "COORD_RESPONSE_NOT_STORED",
      response: 7,
      cause: { code: "COORD_UNAVAILABLE" },
    });
    await host.advance(9 * ttlMs);
    await running;
    expect(unwrap(await coord.once("k", () => 8))).toBe(7);
  });
});

describe("a function that throws", () => {
  const boom = new Error("boom");
  const failing = (): never => {
    throw boom;
  };

  it("leaves an uncertain execution that nobody runs again, and that is kept until it is resolved", async () => {
    await expect(coord.once("k", failing)).rejects.toBe(boom);
    await host.advance(40 * 86_400_000);
    await coord.prune();
    const seen = await coord.once("k", () => 1);
    expect(seen).toMatchObject({ status: "uncertain", attempt: 1 });
    expect(() => unwrap(seen)).toThrow(expect.objectContaining({ code: "COORD_UNCERTAIN" }));
    expect(store.count("release")).toBe(1);
  });

  it.each([
    ["retryable", "retryable" as const, failing],
    ["a function that says retryable", () => "retryable" as const, failing],
    [
      "uncertain, and the function says not done",
      "uncertain" as const,
      (): never => {
        throw notDone(boom);
      },
    ],
  ])("may run again when onError is %s", async (_, onError, work) => {
    await expect(coord.once("k", { onError }, work)).rejects.toBe(boom);
    expect(await coord.once("k", { onError }, (__, { attempt }) => attempt)).toMatchObject({
      status: "completed",
      response: 2,
      attempt: 2,
    });
  });

  it("is the answer ever after when onError is final", async () => {
    await expect(coord.once("k", { onError: "final" }, failing)).rejects.toBe(boom);
    await expect(coord.once("k", () => 1)).rejects.toMatchObject({
      code: "COORD_RECORDED_FAILURE",
      failure: { name: "Error", message: "boom" },
    });
  });

  it.each([
    ["throws itself", () => failing()],
    ["answers nonsense", () => "whatever" as never],
  ])("is uncertain when onError %s", async (_, onError) => {
    await expect(coord.once("k", { onError }, failing)).rejects.toBe(boom);
    expect((await coord.executions.get("k"))?.status).toBe("uncertain");
  });

  it("gives its error to the first caller though the store is down, and is recorded in the background", async () => {
    store.next("release", fail(new UnavailableError("down")), 20);
    const running = expect(coord.once("k", { onError: "final" }, failing)).rejects.toBe(boom);
    await host.advance(9 * ttlMs);
    await running;
    expect((await coord.executions.get("k"))?.status).toBe("failed");
  });
});

describe("a response that can't be stored", () => {
  it.each([
    ["that JSON does not keep", () => ({ at: 1n }) as never, "response.at is 1n"],
    ["of more than 256 KiB", () => "x".repeat(262_144), "has 262146 bytes"],
  ])("%s is on the error, and the record says completed", async (_, work, why) => {
    const thrown = await coord.once<unknown>("k", work).catch((error: unknown) => error);
    expect(thrown).toMatchObject({ code: "COORD_RESPONSE_NOT_STORED", response: work() });
    expect(String(thrown)).toContain(why);
    let runs = 0;
    const replay = coord.once("k", () => (runs += 1));
    await expect(replay).rejects.toMatchObject({ code: "COORD_RESPONSE_NOT_STORED", response: undefined });
    expect(runs).toBe(0);
    const info = await coord.executions.get("k");
    expect(info).toMatchObject({ status: "completed", response: undefined });
    await coord.executions.resolve("k", {
      fence: info?.fence ?? 0n,
      by: "ann",
      as: "completed",
      response: "kept elsewhere",
    });
    expect(await coord.once("k", work)).toMatchObject({ response: "kept elsewhere" });
  });

  it("because the store refuses it is recorded without it", async () => {
    store.next("release", fail(new InvalidArgumentError("too large for this store")));
    await expect(coord.once("k", () => 7)).rejects.toMatchObject({
      code: "COORD_RESPONSE_NOT_STORED",
      response: 7,
    });
    expect((await coord.executions.get("k"))?.status).toBe("completed");
  });
});

describe("another input for the same key", () => {
  it.each([
    ["completed", async () => void (await coord.once("k", { input: 1 }, () => 1))],
    ["running", async () => void coordinator().once("k", { input: 1 }, () => new Promise<number>(() => {}))],
    ["uncertain", () => orphan("k", undefined, 1)],
    [
      "retryable",
      async () =>
        void (await coord
          .once("k", { input: 1, onError: "retryable" }, () => Promise.reject(1))
          .catch(() => {})),
    ],
  ])("is refused when the execution is %s, with waitMs too", async (_, before) => {
    await before();
    await host.settle();
    let runs = 0;
    for (const input of [2, undefined]) {
      const called = coord.once("k", { input, waitMs: 1000 }, () => (runs += 1));
      await expect(called).rejects.toMatchObject({ code: "COORD_ONCE_INPUT_DIFFERS" });
    }
    expect(runs).toBe(0);
  });

  it("is told from the same in another order, and what runs is what was fingerprinted", async () => {
    const input = { a: 1, b: [1, { c: 2, d: 3 }] };
    const running = coord.once("k", { input }, (given) => given.a);
    input.a = 99;
    expect(unwrap(await running)).toBe(1);
    const same = await coord.once("k", { input: { b: [1, { d: 3, c: 2 }], a: 1 } }, () => 2);
    expect(same).toMatchObject({ status: "completed", response: 1 });
  });
});

describe("bad arguments are refused before anything is sent", () => {
  it.each<[string, string, object, string]>([
    ["an empty key", "", {}, "key must not be empty"],
    ["maxHoldMs below the ttl", "k", { maxHoldMs: ttlMs - 1 }, "maxHoldMs must be an integer from 3000"],
    ["retainMs under an hour", "k", { retainMs: 3_599_999 }, "retainMs must be an integer from 3600000"],
    ["an onError that is none", "k", { onError: "ignore" }, "onError must be one of"],
    ["an onUncertain that is none", "k", { onUncertain: "maybe" }, "onUncertain must be one of"],
    ["a probe that is none", "k", { probe: 1 }, "probe must be a function"],
    ["an input that JSON does not keep", "k", { input: { at: new Date(0) } }, "input.at is an object (Date)"],
    ["an unknown option", "k", { ttl: 1 }, "options may have"],
    ["a negative wait", "k", { waitMs: -1 }, "waitMs must be"],
  ])("%s", async (_, key, options, message) => {
    const called = coord.once(key, options as never, () => 1);
    await expect(called).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
    await expect(coord.once(key, options as never, () => 1)).rejects.toThrow(message);
    expect(store.calls).toEqual([]);
  });

  it("no function", async () => {
    await expect(coord.once("k", {} as never)).rejects.toThrow("once takes a function as its last argument");
  });
});

describe("progress", () => {
  it("is found by the next attempt, a probe and a person", async () => {
    const failing = async (_: undefined, execution: Execution): Promise<never> => {
      await execution.save({ page: 3 });
      throw new Error("x");
    };
    await expect(coord.once("k", { onError: "retryable" }, failing)).rejects.toThrow("x");
    const resumed = await coord.once("k", (_, { progress }) => progress as { page: number });
    expect(unwrap(resumed)).toEqual({ page: 3 });
    await expect(coord.once("l", failing)).rejects.toThrow("x");
    expect((await coord.executions.get("l"))?.progress).toEqual({ page: 3 });
    const probed: unknown[] = [];
    await coord.once(
      "l",
      { probe: ({ progress }) => (probed.push(progress), { status: "unknown" }) },
      () => 1,
    );
    expect(probed).toEqual([{ page: 3 }]);
  });

  it("is refused when the claim is over, and when JSON does not keep it", async () => {
    const kept: Execution[] = [];
    await coord.once("k", (_, execution) => void kept.push(execution));
    await expect(kept[0]?.save(1)).rejects.toThrow(LeaseLostError);
    await expect(kept[0]?.save({ at: 1n } as never)).rejects.toThrow("progress.at is 1n");
  });

  it("that is under way when the function returns does not undo the answer", async () => {
    store.next("renew", failAfter(new UnavailableError("cut")));
    const running = coord.once("k", (_, execution) => {
      execution.save({ page: 1 }).catch(() => {});
      return 7;
    });
    await host.advance(1000);
    expect(unwrap(await running)).toBe(7);
    expect(unwrap(await coord.once("k", () => 8))).toBe(7);
  });
});

describe("a claim that is given up", () => {
  it.each([
    ["never reached the store", hang],
    ["was granted and the answer lost", loseReply],
  ])("because of an abort leaves nothing behind when it %s", async (_, act) => {
    store.next("acquire", act);
    const stop = new AbortController();
    const job = controlled();
    const called = coord.once("k", { signal: stop.signal }, job.work);
    await host.settle();
    stop.abort(new Error("enough"));
    await expect(called).rejects.toThrow("enough");
    await host.settle();
    expect(unwrap(await coord.once("k", () => 7))).toBe(7);
    expect(job.runs).toBe(0);
  });

  it("and reaches the store afterwards is refused there", async () => {
    let arrive: () => Promise<unknown> = async () => {};
    store.next("acquire", (run) => {
      arrive = run;
      return new Promise(() => {});
    });
    const stop = new AbortController();
    const called = coord.once("k", { signal: stop.signal }, () => 1);
    await host.settle();
    stop.abort(new Error("enough"));
    await expect(called).rejects.toThrow("enough");
    await host.settle();
    expect(await arrive()).toMatchObject({ outcome: "refused", reason: "moved" });
    await host.advance(10 * ttlMs);
    expect((await coord.executions.get("k"))?.status).toBe("not-done");
  });

  it("is undone however long the store is down", async () => {
    store.next("acquire", loseReply, 2);
    store.next("overrule", fail(new UnavailableError("down")), 50);
    const called = expect(coord.once("k", () => 1)).rejects.toMatchObject({ code: "COORD_UNAVAILABLE" });
    await host.advance(ttlMs);
    await called;
    await host.advance(100_000);
    expect((await coord.executions.get("k"))?.status).toBe("not-done");
    expect(unwrap(await coord.once("k", () => 7))).toBe(7);
  });

  it("because its answer came too late does not make an uncertain execution, though its release fails", async () => {
    store.next("acquire", async (run) => {
      const answer = await run();
      host.mono += ttlMs - 60;
      return answer;
    });
    store.next("release", fail(new UnavailableError("down")), 3);
    const called = coord.once("k", () => 7).catch((error: unknown) => error);
    await host.advance(3 * ttlMs);
    await called;
    expect((await coord.executions.get("k"))?.status).not.toBe("uncertain");
    expect(unwrap(await coord.once("k", () => 8))).toBeGreaterThanOrEqual(7);
  });

  it("keeps what was uncertain before it uncertain", async () => {
    await orphan("k");
    const stop = new AbortController();
    store.next("acquire", (run) => run());
    store.next("acquire", hang);
    const called = coord.once("k", { onUncertain: "rerun", signal: stop.signal }, () => 1);
    await host.settle();
    stop.abort(new Error("enough"));
    await expect(called).rejects.toThrow("enough");
    await host.settle();
    expect(await coord.once("k", () => 2)).toMatchObject({ status: "uncertain" });
    expect(await coord.once("k", { onUncertain: "rerun" }, () => 3)).toMatchObject({ response: 3 });
  });
});

describe("an uncertain execution", () => {
  it("is never run again by itself", async () => {
    await orphan("k");
    for (const waitMs of [0, 5000]) {
      expect(await coord.once("k", { waitMs }, () => 1)).toMatchObject({ status: "uncertain", attempt: 1 });
    }
  });

  it("is run again by those who chose so, under a new fence, for a day and no longer", async () => {
    await orphan("k");
    await orphan("l");
    const uncertain = await coord.once("k", () => 1);
    const again = await coord.once("k", { onUncertain: "rerun" }, (_, { attempt }) => attempt);
    expect(again).toMatchObject({ status: "completed", response: 2, replayed: false });
    expect(
      again.status === "completed" && uncertain.status === "uncertain" && again.fence > uncertain.fence,
    ).toBe(true);
    await host.advance(86_400_000);
    expect(await coord.once("l", { onUncertain: "rerun" }, () => 1)).toMatchObject({ status: "uncertain" });
    expect(
      await coord.once("l", { onUncertain: "rerun", rerunWithinMs: 2 * 86_400_000 }, () => 1),
    ).toMatchObject({ status: "completed" });
  });

  it.each([
    ["a rerun that throws notDone", {}, notDone(new Error("refused"))],
    [
      "a rerun whose error is judged retryable",
      { onError: () => "retryable" as const },
      new Error("refused"),
    ],
  ])("stays uncertain to everybody else after %s", async (_, options, thrown) => {
    await orphan("k");
    const again = coord.once("k", { onUncertain: "rerun", ...options }, () => Promise.reject(thrown));
    await expect(again).rejects.toThrow("refused");
    let runs = 0;
    expect(await coord.once("k", () => (runs += 1))).toMatchObject({ status: "uncertain", attempt: 2 });
    expect(runs).toBe(0);
    expect(await coord.once("k", { onUncertain: "rerun" }, () => 3)).toMatchObject({ response: 3 });
  });

  it("is run again by one of two who chose so at the same time", async () => {
    await orphan("k");
    let runs = 0;
    const calls = [coord, coordinator()].map((each) =>
      each.once("k", { onUncertain: "rerun", waitMs: 1000 }, () => (runs += 1)),
    );
    await host.advance(2000);
    expect((await Promise.all(calls)).map(unwrap)).toEqual([1, 1]);
  });

  it("is not asked about until one ttl after the lapse, by the store's clock", async () => {
    await orphan("k");
    host.wallOffset += 3_600_000;
    let asked = 0;
    const options = {
      probe: () => {
        asked += 1;
        return { status: "completed", response: 5 } as const;
      },
    };
    expect(await coord.once("k", options, () => 1)).toMatchObject({ status: "uncertain" });
    expect(asked).toBe(0);
    const waiting = coord.once("k", { ...options, waitMs: ttlMs + 100 }, () => 1);
    await host.advance(ttlMs);
    expect(await waiting).toMatchObject({ status: "completed", response: 5, replayed: true });
    expect(asked).toBe(1);
    expect(await coordinator().once("k", () => 1)).toMatchObject({ response: 5 });
  });

  it("is run again when the probe says that it was not done", async () => {
    await orphan("k", 3 * ttlMs + 1);
    const probe = (): { status: "not-done" } => ({ status: "not-done" });
    expect(await coord.once("k", { probe }, (_, { attempt }) => attempt)).toMatchObject({ response: 2 });
  });

  it("stays so when the probe does not know, fails or talks nonsense", async () => {
    await orphan("k", 3 * ttlMs + 1);
    const lost = new Error("downstream is away");
    const call = (probe: () => never): Promise<unknown> => coord.once("k", { probe }, () => 1);
    expect(await call(() => ({ status: "unknown" }) as never)).toMatchObject({ status: "uncertain" });
    const failed = await call(() => {
      throw lost;
    });
    expect(failed).toMatchObject({ status: "uncertain", cause: lost });
    expect(await call(() => true as never)).toMatchObject({ cause: { code: "COORD_INVALID_ARGUMENT" } });
    expect(await coord.once("k", () => 1)).toMatchObject({ status: "uncertain" });
  });

  it("is decided by one of two probes, and both get its answer", async () => {
    await orphan("k", 3 * ttlMs + 1);
    const call = (response: number): Promise<unknown> =>
      coordinator().once("k", { probe: () => ({ status: "completed", response }) }, () => 0);
    const [one, two] = await Promise.all([call(1), call(2)]);
    expect(one).toMatchObject({ status: "completed" });
    expect(two).toEqual(one);
  });

  it("that a late finisher completes while the probe asks is completed by the finisher", async () => {
    const job = controlled();
    const late = coord.once("k", { maxHoldMs: ttlMs }, job.work);
    await host.advance(3 * ttlMs + 1);
    const asking = coordinator().once(
      "k",
      {
        probe: async () => {
          job.resolve(1);
          await late;
          return { status: "not-done" };
        },
      },
      () => 2,
    );
    expect(await asking).toMatchObject({ status: "completed", response: 1, replayed: true });
    expect(job.runs).toBe(1);
  });
});

describe("close", () => {
  it("waits for an execution that runs, and for its record", async () => {
    const job = controlled();
    const running = coord.once("k", job.work);
    await host.settle();
    const closing = coord.close();
    await host.advance(3000);
    expect(job.executions[0]?.signal.aborted).toBe(false);
    job.resolve(7);
    await host.advance(10);
    await closing;
    expect(unwrap(await running)).toBe(7);
    expect(unwrap(await coordinator().once("k", () => 8))).toBe(7);
  });

  it("never frees an execution that would not end: it is uncertain", async () => {
    const job = controlled();
    void coord.once("k", job.work);
    await host.settle();
    const closing = coord.close({ graceMs: 1000 });
    await host.advance(10_000);
    await closing;
    expect(job.executions[0]?.signal.reason).toMatchObject({ reason: "closed" });
    expect(await coordinator().once("k", () => 8)).toMatchObject({ status: "uncertain" });
  });

  it("takes no new executions, and ends the wait of those who wait", async () => {
    const job = controlled();
    void coordinator().once("k", job.work);
    await host.settle();
    const waiting = coord.once("k", { waitMs: Infinity }, job.work);
    await host.settle();
    const refused = expect(waiting).rejects.toMatchObject({ code: "COORD_CLOSED" });
    const closing = coord.close();
    await host.advance(1);
    await Promise.all([closing, refused]);
    await expect(coord.once("k", () => 1)).rejects.toMatchObject({ code: "COORD_CLOSED" });
  });
});
