/** Two failures that libraries of this kind are known for, each put to `once` and to a twin that has it. */
import assert from "node:assert/strict";
import { type Backend, type Coordinator, createCoordinator, unwrap } from "@coord/core";
import { start } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, describe, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { freshName } from "./harness.ts";
import { flawedOnce, flawedTable } from "./once-flawed.ts";

const server = await start("postgres");
const pool = new pg.Pool({ connectionString: server.url });
pool.on("error", () => {});
const { namespace } = freshName();
const opened: Coordinator[] = [];

/** A coordinator as another process would have it, its backend changed or not. */
function another(change: (backend: Backend) => Backend = (backend) => backend): Coordinator {
  const backend = change(postgresBackend({ client: pool }));
  const coord = createCoordinator({ backend, namespace, cleanUp: false });
  opened.push(coord);
  return coord;
}
const [first, second] = [another(), another()];
await first.setup();
await pool.query(flawedTable);

afterAll(async () => {
  await Promise.all(opened.map((coord) => coord.close()));
  await pool.end();
  await server.stop();
});

type Work = () => Promise<string>;
/** One caller: what it was answered. */
type Caller = (key: string, work: Work) => Promise<string>;

const withoutOptions =
  (coord: Coordinator): Caller =>
  async (key, work) => {
    const result = await coord.once(key, work);
    return result.status === "completed" ? result.response : result.status;
  };

function latch(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => {};
  const promise = new Promise<void>((resolve) => (open = resolve));
  return { opened: promise, open };
}

/** B calls while A's function runs. */
async function overlapping(a: Caller, b: Caller, key: string): Promise<void> {
  const runs: string[] = [];
  const [began, ended] = [latch(), latch()];
  const one = a(key, async () => {
    runs.push("A");
    began.open();
    await ended.opened;
    return "by A";
  });
  await began.opened;
  const two = await b(key, async () => {
    runs.push("B");
    return "by B";
  });
  ended.open();
  assert.equal(await one, "by A");
  assert.deepEqual(runs, ["A"], "both were executed");
  assert.equal(two, "running");
}

describe("overlapping calls, both executed because no deadline was recorded", () => {
  test("once records a deadline whether or not it is given one, and answers the second with running", async () => {
    await expect(
      overlapping(withoutOptions(first), withoutOptions(second), "overlap"),
    ).resolves.toBeUndefined();
  });

  test("a twin that takes a claim without a deadline for an orphan executes both", async () => {
    const twin: Caller = (key, work) => flawedOnce({ pool, ttlMs: undefined }, key, work);
    await expect(overlapping(twin, twin, "overlap")).rejects.toThrow("both were executed");
  });
});

interface Stale {
  /** Runs longer than its claim lives, and completes all the same. */
  readonly a: Caller;
  /** Decides on what it read before A completed: `pause` ends after that. */
  readonly b: (pause: () => Promise<void>) => Caller;
}

/** B reads while A's claim is over or about to be, A completes, and then B acts on what it read. */
async function staleReader({ a, b }: Stale, key: string): Promise<void> {
  const runs: string[] = [];
  const [began, ended, read, acts] = [latch(), latch(), latch(), latch()];
  const one = a(key, async () => {
    runs.push("A");
    began.open();
    await ended.opened;
    return "by A";
  });
  await began.opened;
  const pause = async (): Promise<void> => {
    read.open();
    await acts.opened;
  };
  const two = b(pause)(key, async () => {
    runs.push("B");
    return "by B";
  });
  await read.opened;
  ended.open();
  assert.equal(await one, "by A");
  acts.open();
  assert.equal(await two, "by A", "the completed record was taken over");
  assert.deepEqual(runs, ["A"]);
  assert.equal(await b(async () => {})(key, async () => "by C"), "by A");
}

const ttlMs = 1000;
/** Never renewed, so that it lapses while the function goes on. */
const unrenewed: Caller = async (key, work) =>
  unwrap(await first.once(key, { ttlMs, maxHoldMs: ttlMs, onError: "uncertain" }, () => work()));

/** Waits until the claim lapsed, decides that nothing was done, and is slow to say so. */
const byProbe =
  (coord: Coordinator) =>
  (pause: () => Promise<void>): Caller =>
  async (key, work) => {
    const probe = async () => {
      await pause();
      return { status: "not-done" } as const;
    };
    return unwrap(await coord.once(key, { ttlMs, waitMs: 30_000, probe }, () => work()));
  };

/** Waits until the claim lapsed, runs it again, and its request to open the record is slow on its way. */
const byRerun =
  (change: (backend: Backend) => Backend = (backend) => backend) =>
  (pause: () => Promise<void>): Caller => {
    const coord = another((backend) => {
      const inner = change(backend);
      const overrule: Backend["overrule"] = async (request) => {
        await pause();
        const options = { signal: AbortSignal.timeout(10_000), timeoutMs: 10_000 };
        return inner.overrule(request, options);
      };
      return { ...inner, overrule };
    });
    const options = { ttlMs: 15_000, waitMs: 30_000, onUncertain: "rerun" } as const;
    return async (key, work) => unwrap(await coord.once(key, options, () => work()));
  };

/** Writes over whatever is there by now. */
const blind = (backend: Backend): Backend => ({
  ...backend,
  async overrule(request, options) {
    const found = await backend.inspect(request.name, options);
    const released = found?.state === "free";
    return backend.overrule({ ...request, fence: found?.fence ?? 0n, released }, options);
  },
});

describe("a stale reader that takes over a completed record", () => {
  test("the answer of a probe that was asked before the completion changes nothing", async () => {
    await expect(staleReader({ a: unrenewed, b: byProbe(second) }, "probe")).resolves.toBeUndefined();
  });

  test("a rerun that was decided before the completion does not happen", async () => {
    await expect(staleReader({ a: unrenewed, b: byRerun() }, "rerun")).resolves.toBeUndefined();
  });

  test.each([
    ["probe", byProbe(another(blind))],
    ["rerun", byRerun(blind)],
  ] as const)("a mutant whose %s does not compare the fence takes it over", async (kind, b) => {
    await expect(staleReader({ a: unrenewed, b }, `blind ${kind}`)).rejects.toThrow("was taken over");
  });

  test("a twin that writes without looking again takes it over", async () => {
    const a: Caller = (key, work) => flawedOnce({ pool, ttlMs: 300 }, key, work);
    const b = (pause: () => Promise<void>): Caller => {
      const pastDeadline = async (): Promise<void> => {
        await pause();
        await new Promise((resolve) => setTimeout(resolve, 400)); // A's deadline passes after A completed
      };
      return (key, work) => flawedOnce({ pool, ttlMs: 300, pause: pastDeadline }, key, work);
    };
    await expect(staleReader({ a, b }, "stale")).rejects.toThrow("was taken over");
  });
});
