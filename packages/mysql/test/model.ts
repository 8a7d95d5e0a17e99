import assert from "node:assert/strict";
import { compareKeys, transitions } from "@coord/core";
import type { Backend, LeaseRecord, Name, Step } from "@coord/core";
import { acquireRequest, call, freshName, overruleRequest, releaseRequest } from "./harness.ts";
import type { TestClock } from "./harness.ts";

/** Mulberry32: a random source with a seed, so that a failing run can be had again. */
function randomOf(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Steps of the store's clock in µs: within a millisecond, over an expiry, over a purge, and back. */
const leapsUs = [
  0n,
  0n,
  1n,
  400n,
  1_000n,
  100_000n,
  1_000_001n,
  5_000_000n,
  61_000_000n,
  -300_500n,
  -60_000_000n,
];
const ttls = [250, 1000, 5000, 60_000];
const retains = [0, 1000, 60_000, null];
const big = "ünï\u{1F512}".repeat(200);
const payloads = [undefined, undefined, "", "p", "nul\u0000'\"\\", big, `${big}!`];
const grantIds = ["A", "a", "B", "C"];

/** An absent property and an undefined one say the same. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(entries.map(([key, each]) => [key, plain(each)]));
}

const shown = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) => (typeof each === "bigint" ? `${each}n` : each));

/**
 * Random steps by several clients on three names of a fresh namespace, on a clock that both sides share:
 * each answer and each record must be exactly that of core's pure functions. Rejects at the first difference.
 */
export async function compareWithLaw(
  seed: number,
  steps: number,
  clock: TestClock,
  clients: readonly Backend[],
): Promise<void> {
  const random = randomOf(seed);
  const pick = <T>(values: readonly T[]): T => {
    const [chosen] = values.slice(Math.floor(random() * values.length)).map((value) => ({ value }));
    if (chosen === undefined) throw new Error("nothing to pick from");
    return chosen.value;
  };
  const { namespace } = freshName();
  const names = ["k", "K", "k "].map((key): Name => ({ namespace, key }));
  const law = new Map<string, LeaseRecord>();
  const fences: bigint[] = [0n, 1n];

  for (let index = 0; index < steps; index++) {
    const turning = [...law.values()].flatMap(({ expiresAt, purgeAt }) => [expiresAt, purgeAt ?? 0]);
    const ahead = turning.map((ms) => BigInt(ms) * 1000n).filter((us) => us > clock.nowUs);
    // Now and then to where something ends, a moment before it or after it.
    if (ahead.length > 0 && random() < 0.3) clock.nowUs = pick(ahead) + pick([-1n, 0n, 999n, 1000n]);
    else clock.nowUs += pick(leapsUs);
    const now = clock.nowUs;
    const [client, name] = [pick(clients), pick(names)];
    const before = law.get(name.key) ?? null;
    const fence = random() < 0.8 ? (before?.fence ?? 0n) : pick(fences);
    const grantId = random() < 0.6 && before !== null ? before.grantId : pick(grantIds);
    const common = { sealed: random() < 0.2, payload: pick(payloads), retainMs: pick(retains) };
    const keep = <Result>(key: string, { record, result }: Step<Result>): Result => {
      if (record !== null) {
        law.set(key, record);
        fences.push(record.fence);
      }
      return result;
    };
    const same = (what: string, actual: unknown, expected: unknown): void =>
      assert.deepEqual(
        plain(actual),
        plain(expected),
        `seed ${seed}, step ${index} at ${now}: ${what} on ${shown(before)}`,
      );

    const dice = random();
    if (dice < 0.38) {
      const request = acquireRequest(name, {
        ...common,
        grantId: random() < 0.5 ? grantId : `g${index}`,
        holder: `h${index} ü`,
        ttlMs: pick(ttls),
        ...(random() < 0.25 && { ifFence: random() < 0.3 ? 0n : fence }),
        ...(random() < 0.3 && {
          from: {
            grantId: random() < 0.8 ? (before?.grantId ?? "A") : pick(grantIds),
            fence: random() < 0.7 ? (before?.fence ?? 1n) : pick(fences),
          },
        }),
        withPayload: random() < 0.5,
      });
      const expected = keep(name.key, transitions.acquire(before, request, now));
      same(`acquire ${shown(request)}`, await client.acquire(request, call()), expected);
    } else if (dice < 0.6) {
      const batch = Array.from({ length: 1 + Math.floor(random() * 4) }, () => {
        const each = pick(names);
        const record = law.get(each.key);
        const others = [...law.values()].map((one) => one.grantId).concat("A");
        return {
          name: each,
          grantId: record !== undefined && random() < 0.8 ? record.grantId : pick(others),
          fence: record !== undefined && random() < 0.8 ? record.fence : pick(fences),
          ttlMs: pick(ttls),
          ...(random() < 0.4 && { payload: pick(["r", "", big]), payloadSeq: pick([0, 1, 2, 3]) }),
        };
      });
      // Those without payload go first, as they share a statement; the order within a batch is the backend's.
      const ordered = batch.toSorted((a, b) => Number("payload" in a) - Number("payload" in b));
      const expected = ordered.map((request) =>
        keep(request.name.key, transitions.renew(law.get(request.name.key) ?? null, request, now)),
      );
      same(`renew ${shown(ordered)}`, await client.renew(ordered, call()), expected);
    } else if (dice < 0.76) {
      const request = releaseRequest({ name, grantId, fence: random() < 0.3 ? null : fence }, common);
      const expected = keep(name.key, transitions.release(before, request, now));
      same(`release ${shown(request)}`, await client.release(request, call()), expected);
    } else if (dice < 0.91) {
      const request = overruleRequest(name, fence, {
        ...common,
        grantId: random() < 0.8 ? `o${index}` : grantId,
        released: random() < 0.5,
        now: random() < 0.3,
      });
      const expected = keep(name.key, transitions.overrule(before, request, now));
      same(`overrule ${shown(request)}`, await client.overrule(request, call()), expected);
    } else if (dice < 0.96) {
      const state = pick([undefined, "held", "free", "lapsed"] as const);
      const sealed = pick([undefined, true, false]);
      const expected = [...law.values()]
        .map((record) => ({ ...transitions.view(record, now), payload: undefined }))
        .filter((seen) => (state ?? seen.state) === seen.state && (sealed ?? seen.sealed) === seen.sealed)
        .toSorted((a, b) => compareKeys(a.key, b.key));
      const listed = await client.list({ namespace, prefix: "", state, sealed, limit: 9 }, call());
      same(`list ${state} ${sealed}`, listed, expected);
    } else {
      const gone = [...law].filter(([, record]) => transitions.isPurgeable(record, now));
      for (const [key] of gone) law.delete(key);
      same("prune", await client.prune({ limit: 100 }, call()), gone.length);
    }
    const after = law.get(name.key);
    const found = await pick(clients).inspect(name, call());
    same(`the record after ${dice}`, found, after === undefined ? null : transitions.view(after, now));
  }
}
