import assert from "node:assert/strict";
import { type Backend, type LeaseRecord, type Name, type Step, transitions, view } from "@coord/core";
import type { PostgresPool } from "../src/index.ts";
import { call, rewriting } from "./harness.ts";

/** A clock that the test sets, in milliseconds; statements see it in place of the server's. */
export interface TestClock {
  nowMs: number;
}

/** Each time is another text, so nothing is prepared by name. */
export const onClock = (clock: TestClock, pool: PostgresPool): PostgresPool =>
  rewriting(pool, (text) =>
    text.replaceAll(
      "clock_timestamp()",
      `(timestamptz 'epoch' + interval '${Math.floor(clock.nowMs / 1000)} s' + interval '${clock.nowMs % 1000} ms')`,
    ),
  );

/** A small random source with a seed, so that a failing run can be had again. */
function randomOf(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Steps of time; whole tenths, as the reference counts in milliseconds and purges are compared exactly. */
const leaps = [0, 0, 0, 100, 300, 1000, 2500, 10_000, 70_000, -200, -1500, -60_000];
const grantIds = ["A", "B", "C", "a"];
const ttls = [200, 1000, 5000, 60_000];
const retains = [0, 1000, 60_000, null];
const payloads = [undefined, undefined, "", "p", "q\u0001", "ünï\u{1F512}"];

/**
 * Random steps by two clients on three names, each compared with the pure functions: the answer, and the record
 * before and after. Rejects at the first difference.
 */
export async function compareWithModel(
  seed: number,
  steps: number,
  clock: TestClock,
  clients: readonly [Backend, Backend],
  namespace: string,
): Promise<void> {
  const random = randomOf(seed);
  const pick = <T>(values: readonly T[]): T => {
    const chosen = Math.floor(random() * values.length);
    for (const [index, value] of values.entries()) if (index === chosen) return value;
    throw new Error("nothing to pick from");
  };
  const model = new Map<string, LeaseRecord>();
  const names = ["k", "K", "k "].map((key): Name => ({ namespace, key }));
  const fences: bigint[] = [0n, 1n];

  for (let index = 0; index < steps; index++) {
    clock.nowMs += pick(leaps);
    const nowUs = BigInt(clock.nowMs) * 1000n;
    const backend = pick(clients);
    const name = pick(names);
    const before = model.get(name.key) ?? null;
    const fence = random() < 0.8 ? (before?.fence ?? 0n) : pick(fences);
    const grantId = random() < 0.6 && before !== null ? before.grantId : pick(grantIds);
    const common = { name, sealed: random() < 0.2, payload: pick(payloads), retainMs: pick(retains) };
    const settle = <Result>({ record, result }: Step<Result>): Result => {
      if (record !== null) model.set(name.key, record);
      if (record !== null) fences.push(record.fence);
      return result;
    };
    const same = (what: string, actual: unknown, expected: unknown): void =>
      assert.deepEqual(actual, expected, `seed ${seed}, step ${index}, ${what}`);

    const dice = random();
    if (dice < 0.35) {
      const request = {
        ...common,
        grantId: random() < 0.5 ? pick(grantIds) : `g${index}`,
        holder: `h${index}`,
        ttlMs: pick(ttls),
        ...(random() < 0.2 && { ifFence: fence }),
        ...(random() < 0.2 && { from: { grantId, fence } }),
        withPayload: random() < 0.5,
      };
      const expected = settle(transitions.acquire(before, request, nowUs));
      same(`acquire ${text(request)}`, await backend.acquire(request, call()), expected);
    } else if (dice < 0.6) {
      const batch = names.slice(0, 1 + Math.floor(random() * names.length)).map((each) => {
        const record = model.get(each.key);
        const isMine = random() < 0.8;
        return {
          name: each,
          grantId: isMine ? (record?.grantId ?? "A") : pick(grantIds),
          fence: isMine ? (record?.fence ?? 1n) : pick(fences),
          ttlMs: pick(ttls),
          ...(random() < 0.5 && { payload: pick(["r", "s", ""]), payloadSeq: pick([0, 1, 2, 3]) }),
        };
      });
      const expected = batch.map((request) => {
        const step = transitions.renew(model.get(request.name.key) ?? null, request, nowUs);
        if (step.record !== null) model.set(request.name.key, step.record);
        return step.result;
      });
      same(`renew ${text(batch)}`, await backend.renew(batch, call()), expected);
    } else if (dice < 0.78) {
      const request = { ...common, grantId, fence: random() < 0.3 ? null : fence };
      const expected = settle(transitions.release(before, request, nowUs));
      same(`release ${text(request)}`, await backend.release(request, call()), expected);
    } else if (dice < 0.92) {
      const request = {
        ...common,
        grantId: random() < 0.9 ? `o${index}` : grantId,
        fence,
        released: random() < 0.5,
        now: random() < 0.3,
      };
      const expected = settle(transitions.overrule(before, request, nowUs));
      same(`overrule ${text(request)}`, await backend.overrule(request, call()), expected);
    } else if (dice < 0.96) {
      const state = pick([undefined, "held", "free", "lapsed"] as const);
      const sealed = pick([undefined, true, false]);
      const expected = [...model.values()]
        .map((record) => ({ ...view(record, nowUs), payload: undefined }))
        .filter((seen) => (state ?? seen.state) === seen.state && (sealed ?? seen.sealed) === seen.sealed)
        .toSorted((a, b) => (a.key < b.key ? -1 : 1));
      same(
        `list ${state} ${sealed}`,
        await backend.list({ namespace, prefix: "", state, sealed, limit: 9 }, call()),
        expected,
      );
    } else {
      const gone = [...model].filter(([, record]) => transitions.isPurgeable(record, nowUs));
      for (const [key] of gone) model.delete(key);
      same("prune", await backend.prune({ limit: 100 }, call()), gone.length);
    }
    const after = model.get(name.key);
    same(
      "the record",
      await pick(clients).inspect(name, call()),
      after === undefined ? null : view(after, nowUs),
    );
  }
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) => (typeof each === "bigint" ? `${each}n` : each));
