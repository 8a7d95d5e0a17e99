import { beforeEach, describe, expect, it } from "vitest";
import type { Coordinator } from "../src/api.ts";
import type { ReleaseRequest, Within } from "../src/backend.ts";
import { createCoordinator } from "../src/coordinator.ts";
import { UnavailableError } from "../src/errors.ts";
import type { Execution } from "../src/once-api.ts";
import { notDone, unwrap } from "../src/once-outcome.ts";
import { release } from "../src/record.ts";
import { fail, FakeHost, fakeStore } from "./fake-host.ts";

const ttlMs = 3000;
let host: FakeHost;
let store: ReturnType<typeof fakeStore>;
let coord: Coordinator;
let balance: number;

beforeEach(() => {
  host = new FakeHost();
  store = fakeStore(host);
  coord = createCoordinator({
    backend: store.backend,
    namespace: "n",
    defaults: { ttlMs },
    host,
    cleanUp: false,
  });
  balance = 0;
});

/**
 * A transaction over the fake store: what it writes is seen at its commit, and until its end whoever else
 * would release the record waits.
 */
function begin() {
  const writes: (() => unknown)[] = [];
  let unlock = (): void => {};
  const end = (): void => {
    writes.length = 0;
    unlock();
  };
  const within: Within = {
    verify: async () => {},
    async release(request: ReleaseRequest) {
      const { namespace, key } = request.name;
      const record = store.store.records.get(`${namespace}\u0000${key}`) ?? null;
      const { result } = release(record, request, BigInt(Math.round(host.wallMs() * 1000)));
      if (result.outcome === "released" && result.record === undefined) {
        writes.push(() =>
          store.inner.release(request, { signal: new AbortController().signal, timeoutMs: 1 }),
        );
        const locked = new Promise<void>((resolve) => (unlock = resolve));
        store.next("release", async (run) => {
          await locked;
          return run();
        });
      }
      return result;
    },
  };
  return {
    within,
    add: (amount: number): void => void writes.push(() => (balance += amount)),
    async commit(): Promise<void> {
      for (const write of writes) await write();
      end();
    },
    rollback: end,
  };
}

const transfer = async (_: undefined, execution: Execution): Promise<string> => {
  const transaction = begin();
  transaction.add(5);
  await execution.complete("moved 5", { within: transaction.within });
  await transaction.commit();
  return "moved 5";
};

it("the answer commits with the writes, is the outcome, and is replayed", async () => {
  expect(await coord.once("k", transfer)).toMatchObject({
    status: "completed",
    response: "moved 5",
    replayed: false,
  });
  expect(unwrap(await coord.once("k", transfer))).toBe("moved 5");
  expect(balance).toBe(5);
});

describe("a commit is the outcome whatever the function does afterwards:", () => {
  it.each([
    ["it throws", new Error("after the commit")],
    ["it says that nothing was done", notDone(new Error("after the commit"))],
  ])("%s", async (_, error) => {
    const running = coord.once("k", { onError: "retryable" }, async (input, execution) => {
      await transfer(input, execution);
      throw error;
    });
    expect(await running).toMatchObject({ status: "completed", response: "moved 5", replayed: false });
    expect(await coord.once("k", transfer)).toMatchObject({ response: "moved 5", replayed: true });
    expect(balance).toBe(5);
  });

  it("the function does not wait for it", async () => {
    const transaction = begin();
    const running = coord.once("k", async (_, execution) => {
      transaction.add(5);
      await execution.complete(1, { within: transaction.within });
      return 1;
    });
    await host.advance(200);
    await transaction.commit();
    expect(await running).toMatchObject({ status: "completed", response: 1 });
  });

  it("the connection breaks in the commit, which happens all the same", async () => {
    const transaction = begin();
    const running = coord.once("k", { onError: "retryable" }, async (_, execution) => {
      transaction.add(5);
      await execution.complete(1, { within: transaction.within });
      throw new Error("connection lost in COMMIT");
    });
    await host.advance(200);
    await transaction.commit();
    expect(await running).toMatchObject({ status: "completed", response: 1 });
    expect(balance).toBe(5);
  });
});

describe("a transaction that is rolled back", () => {
  it("by a function that throws leaves what onError says", async () => {
    const failing = async (_: undefined, execution: Execution): Promise<never> => {
      const transaction = begin();
      transaction.add(5);
      await execution.complete(1, { within: transaction.within });
      transaction.rollback();
      throw new Error("x");
    };
    await expect(coord.once("k", { onError: "retryable" }, failing)).rejects.toThrow("x");
    expect(balance).toBe(0);
    expect(unwrap(await coord.once("k", transfer))).toBe("moved 5");
    await expect(coord.once("l", failing)).rejects.toThrow("x");
    expect(await coord.once("l", transfer)).toMatchObject({ status: "uncertain" });
  });

  it("by a function that returns all the same is told, with the response, and uncertain", async () => {
    const running = coord.once("k", async (_, execution) => {
      const transaction = begin();
      await execution.complete(1, { within: transaction.within });
      transaction.rollback();
      return 7;
    });
    await expect(running).rejects.toMatchObject({ code: "COORD_OUTCOME_NOT_COMMITTED", response: 7 });
    expect((await coord.executions.get("k"))?.attempts.at(-1)).toMatchObject({ error: "OutcomeError" });
    expect(await coord.once("k", transfer)).toMatchObject({ status: "uncertain" });
  });

  it("may be followed by another one in the same run", async () => {
    const running = coord.once("k", async (input, execution) => {
      const first = begin();
      await execution.complete("first", { within: first.within });
      first.rollback();
      return transfer(input, execution);
    });
    expect(await running).toMatchObject({ response: "moved 5" });
    expect(balance).toBe(5);
  });
});

it("a second transaction after a commit is told to roll back, so that nothing is written twice", async () => {
  const running = coord.once("k", async (input, execution) => {
    await transfer(input, execution);
    await expect(transfer(input, execution)).rejects.toMatchObject({ code: "COORD_OUTCOME_SUPERSEDED" });
    return "moved 5";
  });
  expect(await running).toMatchObject({ status: "completed" });
  expect(balance).toBe(5);
});

it("a claim that somebody resolved throws inside the transaction", async () => {
  const running = coord.once("k", async (input, execution) => {
    const { fence } = execution;
    await coord.executions.resolve("k", { fence, by: "ann", as: "completed", response: "by hand" });
    return transfer(input, execution);
  });
  await expect(running).rejects.toMatchObject({ code: "COORD_LEASE_LOST", reason: "refused" });
  expect(balance).toBe(0);
  expect(unwrap(await coord.once("k", transfer))).toBe("by hand");
});

it("a claim that lapsed untouched still commits: nobody else ran it", async () => {
  const running = coord.once("k", { maxHoldMs: ttlMs }, async (input, execution) => {
    await new Promise<void>((resolve) => void host.setTimer(resolve, 3 * ttlMs, true));
    return transfer(input, execution);
  });
  await host.advance(3 * ttlMs);
  expect(await running).toMatchObject({ status: "completed" });
});

it("whether it was committed stays unknown while the store is away: the error has the response", async () => {
  store.next("release", fail(new UnavailableError("down")), 20);
  const running = expect(
    coord.once("k", async (_, execution) => {
      const transaction = begin();
      await execution.complete(1, { within: transaction.within });
      await transaction.commit();
      return 1;
    }),
  ).rejects.toMatchObject({ code: "COORD_RESPONSE_NOT_STORED", response: 1 });
  await host.advance(9 * ttlMs);
  await running;
  expect(unwrap(await coord.once("k", () => 2))).toBe(1);
});

it("bad arguments are refused before anything is sent, and the function may go on", async () => {
  const running = coord.once("k", async (_, execution) => {
    const { within } = begin();
    await expect(execution.complete({ at: 1n } as never, { within })).rejects.toThrow("response.at is 1n");
    await expect(execution.complete(1, {} as never)).rejects.toThrow("within must be what");
    return 7;
  });
  expect(unwrap(await running)).toBe(7);
});
