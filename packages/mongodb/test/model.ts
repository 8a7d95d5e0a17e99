/**
 * Random sequences of the five operations by two clients, answered by the backend and by the reference
 * transitions. After each step the answers and the stored records agree, up to time slack; the model then
 * takes over the store's record, so that slack does not add up.
 */
import assert from "node:assert/strict";
import {
  type Backend,
  type LeaseRecord,
  type Name,
  type RecordView,
  type RenewRequest,
  transitions,
} from "@coord/core";
import fc from "fast-check";
import type { Collection } from "mongodb";
import { within } from "./calls.ts";

/** What the server deletes or somebody writes by hand, in the test's own words. */
export interface LeaseDocument {
  _id: string;
  expiresAt?: Date;
  purgeAt?: Date | null;
  fence?: bigint;
}

const slackMs = 5000;
const grantIds = ["grant a", "$fence", "grant c", "GRANT A"];
const payloads = [undefined, "", "text", "$$NOW", '{"$literal":1}', "\u0000\u001f\u{1f512}é"];
const hourUs = 3_600_000_000n;

const fenceOf = fc.constantFrom("current", "stale", "next", "zero");
const base = {
  by: fc.nat(1),
  grant: fc.nat(3),
  ttlMs: fc.constantFrom(60_000, 600_000),
  sealed: fc.boolean(),
  payload: fc.nat(payloads.length - 1),
  retainMs: fc.constantFrom(null, 60_000, 86_400_000),
  fence: fenceOf,
};
const steps = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      ...base,
      kind: fc.constant("acquire"),
      ifFence: fc.option(fenceOf, { freq: 3 }),
      from: fc.option(fenceOf, { freq: 5 }),
      fromHolder: fc.boolean(),
      withPayload: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      ...base,
      kind: fc.constant("renew"),
      own: fc.boolean(),
      payloadSeq: fc.nat(3),
      twice: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      ...base,
      kind: fc.constant("release"),
      own: fc.boolean(),
      anyFence: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      ...base,
      kind: fc.constant("overrule"),
      released: fc.option(fc.boolean(), { freq: 3 }),
      now: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("lapse") }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete") }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("future") }) },
);
type Step = typeof steps extends fc.Arbitrary<infer T> ? T : never;

export interface Pair {
  readonly backends: readonly [Backend, Backend];
  /** The same collection, past the backend. */
  readonly raw: Collection<LeaseDocument>;
}

const storedOf = (record: RecordView | null): LeaseRecord | null => {
  if (record === null) return null;
  const { state: _state, remainingMs: _remainingMs, ...stored } = record;
  return stored;
};

const nowUs = (): bigint => BigInt(Date.now()) * 1000n;

/** Equal but for the fields that hold a time, which may differ by the slack. */
function assertAgrees(actual: unknown, expected: unknown, what: string): void {
  assert.deepEqual(rounded(actual, expected), expected, what);
}

function rounded(actual: unknown, expected: unknown): unknown {
  if (typeof actual === "bigint" && typeof expected === "bigint") {
    const off = actual > expected ? actual - expected : expected - actual;
    return off <= BigInt(slackMs) * 1000n && expected < nowUs() + hourUs / 2n ? expected : actual;
  }
  if (!isObject(actual) || !isObject(expected) || Array.isArray(actual)) return actual;
  const entries = Object.entries(actual).flatMap(([key, value]): [string, unknown][] => {
    if (value === undefined && !(key in expected)) return [];
    const other = expected[key];
    const near =
      ["expiresAt", "purgeAt", "remainingMs"].includes(key) &&
      typeof value === "number" &&
      typeof other === "number" &&
      (value === 0) === (other === 0) &&
      Math.abs(value - other) <= slackMs;
    return [[key, near ? other : rounded(value, other)]];
  });
  for (const key of Object.keys(expected)) {
    if (expected[key] === undefined && !(key in actual)) entries.push([key, undefined]);
  }
  return Object.fromEntries(entries);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null;

/** Plays the steps on one name; rejects at the first answer or record that differs from the model's. */
async function play({ backends, raw }: Pair, name: Name, sequence: readonly Step[]): Promise<void> {
  const id = `${name.namespace}:${name.key}`;
  let record: LeaseRecord | null = null;
  let stale = 1n;

  const pickFence = (which: string): bigint => {
    const current = record?.fence ?? 0n;
    return which === "current" ? current : which === "stale" ? stale : which === "next" ? current + 1n : 0n;
  };

  async function one(step: Step): Promise<void> {
    if (step.kind === "lapse") {
      if (record === null || record.expiresAt === 0) return;
      const expiresAt = Date.now() - 2 * slackMs;
      await raw.updateOne({ _id: id }, { $set: { expiresAt: new Date(expiresAt) } });
      record = { ...record, expiresAt };
      return;
    }
    if (step.kind === "delete") {
      await raw.deleteOne({ _id: id });
      record = null;
      return;
    }
    if (step.kind === "future") {
      if (record === null) return;
      const fence = nowUs() + hourUs;
      await raw.updateOne({ _id: id }, { $set: { fence } });
      record = { ...record, fence };
      return;
    }
    if (!("grant" in step)) return;
    const backend = backends[step.by === 0 ? 0 : 1];
    const payload = payloads[step.payload];
    const grantId = grantIds[step.grant] ?? "";
    const mine = "own" in step && step.own && record !== null ? record.grantId : grantId;
    const { ttlMs, sealed, retainMs } = step;
    const before = record;
    let outcome: { result: unknown; record: LeaseRecord | null };
    let answer: unknown;
    if ("withPayload" in step) {
      const from =
        step.from === null
          ? undefined
          : { grantId: step.fromHolder && before ? before.grantId : grantId, fence: pickFence(step.from) };
      const ifFence = step.ifFence === null ? undefined : pickFence(step.ifFence);
      const request = {
        name,
        grantId,
        holder: `$holder ${grantId}`,
        ttlMs,
        sealed,
        payload,
        retainMs,
        ifFence,
        from,
        withPayload: step.withPayload,
      };
      answer = await backend.acquire(request, within());
      outcome = transitions.acquire(record, request, nowUs());
    } else if ("payloadSeq" in step) {
      const request: RenewRequest = {
        name,
        grantId: mine,
        fence: pickFence(step.fence),
        ttlMs,
        ...(payload !== undefined && { payload, payloadSeq: step.payloadSeq }),
      };
      // Another name beside it makes the batch a mixed one.
      const other = { ...request, name: { ...name, key: `${name.key} other` } };
      const batch = step.twice ? [request, other, request] : [request];
      const outcomes = await backend.renew(batch, within());
      outcome = transitions.renew(record, request, nowUs());
      answer = outcomes;
      outcome = { ...outcome, result: batch.map((each) => (each === other ? "lost" : outcome.result)) };
    } else if ("anyFence" in step) {
      const request = {
        name,
        grantId: mine,
        fence: step.anyFence ? null : pickFence(step.fence),
        sealed,
        payload,
        retainMs,
      };
      answer = await backend.release(request, within());
      outcome = transitions.release(record, request, nowUs());
    } else {
      const released = step.released ?? before?.expiresAt === 0;
      const request = {
        name,
        grantId,
        fence: pickFence(step.fence),
        released,
        sealed,
        payload,
        retainMs,
        now: step.now,
      };
      answer = await backend.overrule(request, within());
      outcome = transitions.overrule(record, request, nowUs());
    }
    const what = JSON.stringify(step);
    assertAgrees(answer, outcome.result, `answer to ${what}`);
    const seen = storedOf(await backends[step.by === 0 ? 1 : 0].inspect(name, within()));
    assertAgrees(seen, outcome.record, `record after ${what}`);
    if (seen !== null && before !== null && outcome.record?.fence !== before.fence) {
      assert.ok(seen.fence > before.fence, `fence rises with ${what}`);
      stale = before.fence;
    }
    if (isObject(answer) && "fence" in answer) assert.equal(answer["fence"], seen?.fence, `fence of ${what}`);
    // An unchanged record has not moved by a microsecond.
    if (outcome.record === before) assert.deepEqual(seen, before, `nothing is written by ${what}`);
    record = seen;
  }
  for (const step of sequence) await one(step);
}

/** Plays random sequences, several names at a time; the error names seed and step. */
export async function playAll(pair: Pair, namespace: string, count: number, seed: number): Promise<number> {
  const length = 40;
  const sequences = fc.sample(fc.array(steps, { minLength: length, maxLength: length }), {
    seed,
    numRuns: Math.ceil(count / length),
  });
  let next = 0;
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let index = next++; index < sequences.length; index = next++) {
        const sequence = sequences[index] ?? [];
        await play(pair, { namespace, key: `l\u001f${index}` }, sequence).catch((error: unknown) => {
          throw new Error(`seed ${seed}, sequence ${index}`, { cause: error });
        });
      }
    }),
  );
  return sequences.length * length;
}
