/** Races between real connections, as checks that a changed statement can be put through too. */
import assert from "node:assert/strict";
import type { AcquireResult, Backend } from "@coord/core";
import { acquireRequest, call, freshId, freshName, overruleRequest, releaseRequest } from "./harness.ts";

const fencesOf = (results: readonly AcquireResult[]): bigint[] =>
  results.flatMap((result) => (result.outcome === "granted" ? [result.fence] : []));

/** Many acquirers at once: one is granted, and the others are told of it. */
export async function oneWinner(
  backend: Backend,
  before: "new" | "released" | "lapsed" | "handed-over",
  contenders = 30,
): Promise<void> {
  const name = freshName();
  let from: { grantId: string; fence: bigint } | undefined;
  if (before !== "new") {
    const first = acquireRequest(name, before === "lapsed" ? { ttlMs: 1 } : {});
    const granted = await backend.acquire(first, call());
    assert.equal(granted.outcome, "granted");
    const grant = { name, grantId: first.grantId, fence: granted.fence };
    if (before === "released") await backend.release(releaseRequest(grant), call());
    if (before === "lapsed") await new Promise((resolve) => setTimeout(resolve, 5));
    if (before === "handed-over") from = grant;
  }
  const requests = Array.from({ length: contenders }, () => acquireRequest(name, { from }));
  const results = await Promise.all(requests.map((request) => backend.acquire(request, call())));
  const fences = fencesOf(results);
  assert.equal(fences.length, 1, `${fences.length} of ${contenders} were granted`);
  for (const result of results) {
    if (result.outcome === "granted") continue;
    assert.equal(result.reason, from === undefined ? "held" : "moved");
    assert.equal(result.record?.fence, fences[0]);
  }
}

/** Copies of one acquire: one grant, one fence. */
export async function oneFence(backend: Backend, copies = 30): Promise<void> {
  const request = acquireRequest(freshName());
  const results = await Promise.all(Array.from({ length: copies }, () => backend.acquire(request, call())));
  assert.equal(fencesOf(results).length, copies);
  assert.equal(new Set(fencesOf(results)).size, 1);
}

/** Releases, overrules and a hand-over of one held grant at once: one of them wins, the record tells which. */
export async function oneEnd(backend: Backend): Promise<void> {
  const name = freshName();
  const request = acquireRequest(name);
  const granted = await backend.acquire(request, call());
  assert.equal(granted.outcome, "granted");
  const grant = { name, grantId: request.grantId, fence: granted.fence };
  const overruled = [overruleRequest(name, grant.fence), overruleRequest(name, grant.fence, { now: true })];
  const [one, two, handed, ...releases] = await Promise.all([
    ...overruled.map(async (each) => (await backend.overrule(each, call())).outcome === "overruled"),
    backend
      .acquire(acquireRequest(name, { from: grant }), call())
      .then(({ outcome }) => outcome === "granted"),
    ...["a", "b"].map((payload) => backend.release(releaseRequest(grant, { payload }), call())),
  ]);
  const first = releases.filter(
    (each) => typeof each === "object" && each.outcome === "released" && !each.record,
  );
  const wins = [one, two, handed].filter((each) => each === true).length + first.length;
  assert.equal(wins, 1, `${wins} of two overrules, two releases and a hand-over won`);
}

/** Cycles by many clients under clean-up without retention: the fence of each grant is above the one before. */
export async function risingFences(backend: Backend, clients: number, cycles: number): Promise<void> {
  const name = freshName();
  let last = 0n;
  let holders = 0;
  let grants = 0;
  const cycle = async (): Promise<void> => {
    while (grants < cycles) {
      const request = acquireRequest(name, { retainMs: 0 });
      const result = await backend.acquire(request, call());
      if (result.outcome === "refused") continue;
      assert.equal(++holders, 1, "two hold it at once");
      assert.ok(result.fence > last, `fence ${result.fence} after ${last}`);
      last = result.fence;
      grants++;
      holders--;
      await backend.release(
        releaseRequest({ name, grantId: request.grantId, fence: result.fence }, { retainMs: 0 }),
        call(),
      );
    }
  };
  const prune = async (): Promise<void> => {
    for (;;) {
      if (grants >= cycles) return;
      await backend.prune({ limit: 100 }, call());
    }
  };
  await Promise.all([...Array.from({ length: clients }, cycle), prune(), prune()]);
}

/** A renewal of a record that a transaction has locked is unknown, at once, and delays no other. */
export async function lockedIsUnknown(
  backend: Backend,
  lock: (key: string, namespace: string) => Promise<() => Promise<void>>,
): Promise<void> {
  const { namespace } = freshName();
  const requests = [acquireRequest({ namespace, key: "a" }), acquireRequest({ namespace, key: "b" })];
  const grants = [];
  for (const request of requests) {
    const result = await backend.acquire(request, call());
    assert.equal(result.outcome, "granted");
    grants.push({ name: request.name, grantId: request.grantId, fence: result.fence, ttlMs: 60_000 });
  }
  const unlock = await lock("a", namespace);
  try {
    const stranger = { name: { namespace, key: "c" }, grantId: freshId(), fence: 1n, ttlMs: 1000 };
    const outcomes = await backend.renew([...grants, stranger], call(3000));
    assert.deepEqual(outcomes, ["unknown", "renewed", "lost"]);
  } finally {
    await unlock();
  }
}

export async function repeat(times: number, race: () => Promise<void>): Promise<void> {
  for (let round = 0; round < times; round++) await race();
}
