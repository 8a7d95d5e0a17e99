import { beforeEach, describe, expect, it } from "vitest";
import type { Coordinator } from "../src/api.ts";
import { createCoordinator } from "../src/coordinator.ts";
import { UnavailableError } from "../src/errors.ts";
import type { Execution, ExecutionInfo, Resolution } from "../src/once-api.ts";
import { notDone, unwrap } from "../src/once-outcome.ts";
import { failAfter, FakeHost, fakeStore } from "./fake-host.ts";

const ttlMs = 3000;
let host: FakeHost;
let store: ReturnType<typeof fakeStore>;
let coord: Coordinator;

const coordinator = (holder: string, change = {}): Coordinator =>
  createCoordinator({
    backend: store.backend,
    namespace: "n",
    defaults: { ttlMs },
    host,
    cleanUp: false,
    holder,
    ...change,
  });

beforeEach(() => {
  host = new FakeHost();
  store = fakeStore(host);
  coord = coordinator("a");
});

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const seen: T[] = [];
  for await (const item of items) seen.push(item);
  return seen;
}

async function info(key: string): Promise<ExecutionInfo> {
  const found = await coord.executions.get(key);
  if (found === null) throw new Error(`no execution ${key}`);
  return found;
}

/** One execution in each status, under a key of that name. */
async function oneOfEach(): Promise<void> {
  const throwing = (error: unknown) => (): never => {
    throw error;
  };
  await coord.once("completed", { input: 1 }, () => ({ id: 1 }));
  await coord.once("failed", { onError: "final" }, throwing(new RangeError("no"))).catch(() => {});
  await coord.once("not-done", throwing(notDone(new Error("x")))).catch(() => {});
  await coord.once("uncertain:threw", throwing(new Error("x"))).catch(() => {});
  void coord.once("uncertain:died", { maxHoldMs: ttlMs }, () => new Promise<number>(() => {}));
  await host.settle();
  await host.advance(2 * ttlMs + 1);
  void coord.once("running", () => new Promise<number>(() => {}));
  await host.settle();
}

describe("list and get", () => {
  it("show every status, with all that an operator needs", async () => {
    await oneOfEach();
    const seen = await all(coord.executions.list());
    expect(seen.map(({ key, status }) => [key, status])).toEqual([
      ["completed", "completed"],
      ["failed", "failed"],
      ["not-done", "not-done"],
      ["running", "running"],
      ["uncertain:died", "uncertain"],
      ["uncertain:threw", "uncertain"],
    ]);
    expect(await info("completed")).toMatchObject({
      holder: "a",
      attempt: 1,
      response: { id: 1 },
      startedAt: new Date(host.wallMs() - 2 * ttlMs - 1),
      attempts: [
        { by: "a", outcome: "started" },
        { by: "a", outcome: "completed", fence: String((await info("completed")).fence) },
      ],
    });
    expect((await info("failed")).failure).toEqual({ name: "RangeError", message: "no" });
    expect((await info("running")).remainingMs).toBe(ttlMs);
    expect(await coord.executions.get("nothing")).toBeNull();
  });

  it("filter by status and prefix, and read no more records than they must", async () => {
    await oneOfEach();
    for (const status of ["running", "completed", "failed", "not-done"] as const) {
      const seen = await all(coord.executions.list({ status }));
      expect(seen.map(({ key }) => key)).toEqual([status]);
    }
    const before = store.count("inspect");
    expect(await all(coord.executions.list({ status: "uncertain" }))).toHaveLength(2);
    expect(store.count("inspect") - before).toBe(2);
    expect(await all(coord.executions.list({ prefix: "uncertain:d" }))).toHaveLength(1);
    await expect(all(coord.executions.list({ status: "odd" as never }))).rejects.toThrow("status must be");
  });

  it("show a key that was never run to an end as one that may run", async () => {
    await oneOfEach();
    await coord.withLease("completed", () => 1);
    expect(await all(coord.list())).toHaveLength(1);
  });
});

describe("resolve", () => {
  it.each([
    ["completed", { as: "completed", response: { id: 9 } }, { status: "completed", response: { id: 9 } }],
    ["not done", { as: "not-done" }, { status: "completed", response: "ran", attempt: 2 }],
  ] as const)("decides an uncertain execution as %s", async (_, decision, outcome) => {
    await oneOfEach();
    for (const key of ["uncertain:threw", "uncertain:died"]) {
      const { fence } = await info(key);
      await coord.executions.resolve(key, { fence, by: "ann", note: "looked it up", ...decision });
      expect((await info(key)).attempts.at(-1)).toMatchObject({ by: "ann", note: "looked it up" });
      expect(await coord.once<unknown>(key, () => "ran")).toMatchObject(outcome);
    }
  });

  it("decides it as failed for good", async () => {
    await oneOfEach();
    const { fence } = await info("uncertain:died");
    await coord.executions.resolve("uncertain:died", { fence, by: "ann", note: "card gone", as: "failed" });
    await expect(coord.once("uncertain:died", () => 1)).rejects.toMatchObject({
      code: "COORD_RECORDED_FAILURE",
      failure: { name: "Failed", message: "card gone" },
    });
  });

  it("lets one of two operators win", async () => {
    await oneOfEach();
    const { fence } = await info("uncertain:died");
    const decide = (each: Coordinator, response: string): Promise<void> =>
      each.executions.resolve("uncertain:died", { fence, by: response, as: "completed", response });
    const results = await Promise.allSettled([decide(coord, "ann"), decide(coordinator("b"), "bob")]);
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(results.find(({ status }) => status === "rejected")).toMatchObject({
      reason: { code: "COORD_MOVED" },
    });
  });

  it("loses to a late finisher who came first, though the fence is the same", async () => {
    let finish: (value: number) => void = () => {};
    const late = coord.once("k", { maxHoldMs: ttlMs }, () => new Promise<number>((r) => (finish = r)));
    await host.settle();
    await host.advance(2 * ttlMs + 1);
    const { fence } = await info("k");
    finish(7);
    await late;
    for (const decision of [{ as: "not-done" }, { as: "completed", response: 1 }] as const) {
      const resolved = coord.executions.resolve("k", { fence, by: "ann", ...decision });
      await expect(resolved).rejects.toThrow(/is completed now/);
    }
    expect(unwrap(await coord.once("k", () => 8))).toBe(7);
  });

  it("loses to a late finisher who comes between its reading and its writing", async () => {
    let finish: (value: number) => void = () => {};
    const late = coord.once("k", { maxHoldMs: ttlMs }, () => new Promise<number>((r) => (finish = r)));
    await host.settle();
    await host.advance(2 * ttlMs + 1);
    const { fence } = await info("k");
    store.next("inspect", async (run) => {
      const seen = await run();
      finish(7);
      await late;
      return seen;
    });
    const resolved = coord.executions.resolve("k", { fence, by: "ann", as: "not-done" });
    await expect(resolved).rejects.toMatchObject({ code: "COORD_MOVED" });
    expect(unwrap(await coord.once("k", () => 8))).toBe(7);
  });

  it("of a running one as not done lets nobody in before its holder's own deadline", async () => {
    const executions: Execution[] = [];
    const running = coord.once("k", (_, execution) => {
      executions.push(execution);
      return new Promise<number>((__, reject) => {
        execution.signal.addEventListener("abort", () => reject(execution.signal.reason));
      });
    });
    running.catch(() => {});
    await host.settle();
    const { fence } = await info("k");
    const other = coordinator("b");
    await coord.executions.resolve("k", { fence, by: "ann", as: "not-done" });
    expect(await other.once("k", () => 8)).toMatchObject({ status: "running" });
    await host.advance(ttlMs + 1);
    expect(executions[0]?.signal.aborted).toBe(true);
    expect(unwrap(await other.once("k", () => 8))).toBe(8);
  });

  it("knows that it was done though its answer was lost and somebody ran the key since", async () => {
    await oneOfEach();
    const { fence } = await info("uncertain:threw");
    store.next("overrule", async (run) => {
      await run();
      await coordinator("b").once("uncertain:threw", () => "b ran it");
      throw new UnavailableError("cut");
    });
    const resolved = coord.executions.resolve("uncertain:threw", { fence, by: "ann", as: "not-done" });
    await host.advance(1000);
    await expect(resolved).resolves.toBeUndefined();
  });

  it("repeats when its answer was lost", async () => {
    await oneOfEach();
    const { fence } = await info("uncertain:threw");
    store.next("overrule", failAfter(new UnavailableError("cut")));
    const resolved = coord.executions.resolve("uncertain:threw", { fence, by: "ann", as: "not-done" });
    await host.advance(1000);
    await expect(resolved).resolves.toBeUndefined();
    expect(store.count("overrule")).toBe(2);
  });

  it.each<[string, object, string]>([
    ["another fence", { fence: 1n, as: "not-done" }, "its fence is"],
    ["no decision", { as: "done" }, 'as must be "completed", "not-done" or "failed"'],
    ["nobody who decides", { by: "", as: "not-done" }, "by must be a text"],
    ["completed without a response", { as: "completed" }, "needs the response"],
    ["not done with a response", { as: "not-done", response: 1 }, "takes no response"],
    ["a fence that is no bigint", { fence: 1, as: "not-done" }, "fence must be a bigint"],
  ])("refuses %s", async (_, change, message) => {
    await oneOfEach();
    const { fence } = await info("uncertain:died");
    const resolution = { fence, by: "ann", ...change } as Resolution;
    await expect(coord.executions.resolve("uncertain:died", resolution)).rejects.toThrow(message);
    expect(store.count("overrule")).toBe(0);
  });

  it("refuses what is answered, and what is not there", async () => {
    await oneOfEach();
    for (const key of ["completed", "failed", "nothing"]) {
      const fence = (await coord.executions.get(key))?.fence ?? 1n;
      const resolved = coord.executions.resolve(key, { fence, by: "ann", as: "not-done" });
      await expect(resolved).rejects.toMatchObject({ code: "COORD_MOVED" });
    }
  });
});

describe("export and import", () => {
  it("carry every answer to another store, once, and leave no doubt behind", async () => {
    await oneOfEach();
    const lines = await all(coord.executions.export());
    const elsewhere = fakeStore(host);
    const other = coordinator("b", { backend: elsewhere.backend });
    expect(await other.executions.import(lines)).toEqual({ imported: 6, skipped: [] });
    expect(unwrap(await other.once("completed", { input: 1 }, (): object => ({})))).toEqual({ id: 1 });
    await expect(other.once("completed", { input: 2 }, () => 1)).rejects.toMatchObject({
      code: "COORD_ONCE_INPUT_DIFFERS",
    });
    await expect(other.once("failed", () => 1)).rejects.toMatchObject({ code: "COORD_RECORDED_FAILURE" });
    for (const key of ["uncertain:died", "uncertain:threw", "running"])
      expect(await other.once(key, () => 1)).toMatchObject({ status: "uncertain" });
    expect(await other.once("not-done", () => 1)).toMatchObject({ status: "completed", attempt: 2 });
    const again = await other.executions.import(lines);
    expect(again.imported).toBe(0);
    expect(again.skipped).toHaveLength(6);
    expect(await other.once("not-done", () => 2)).toMatchObject({ response: 1 });
  });

  it("says which line is none, and may be repeated when it is mended", async () => {
    await oneOfEach();
    const lines = await all(coord.executions.export({ prefix: "co" }));
    const elsewhere = coordinator("b", { backend: fakeStore(host).backend });
    await expect(elsewhere.executions.import([...lines, "", "{}"])).rejects.toThrow("Line 3 is no line");
    expect(await elsewhere.executions.import(lines)).toEqual({ imported: 0, skipped: ["completed"] });
  });
});
