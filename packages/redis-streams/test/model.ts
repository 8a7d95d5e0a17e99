import assert from "node:assert/strict";
import { compareKeys, transitions, view } from "@coord/core";
import type { Backend, LeaseRecord, Name } from "@coord/core";
import fc from "fast-check";
import { call } from "./call.ts";

/** How a step names the grant or fence of a record, so that most steps are about something that exists. */
type Which = "current" | "previous" | "other" | "none";

interface Common {
  readonly client: 0 | 1;
  readonly key: number;
  readonly grant: number;
  readonly ttlMs: number;
  readonly sealed: boolean;
  readonly payload: string | undefined;
  readonly retainMs: number | null;
  readonly which: Which;
  readonly fence: Which;
  readonly flag: boolean;
  readonly seq: number;
  readonly advanceUs: number;
}

type Verb = "acquire" | "claim" | "take-over" | "renew" | "release" | "overrule" | "list" | "wait";
type ModelStep = Common & { readonly verb: Verb };

const which = fc.constantFrom<Which[]>("current", "current", "current", "previous", "other", "none");

const modelStep: fc.Arbitrary<ModelStep> = fc.record({
  verb: fc.constantFrom<Verb[]>(
    "acquire",
    "acquire",
    "acquire",
    "claim",
    "take-over",
    "renew",
    "renew",
    "release",
    "release",
    "overrule",
    "overrule",
    "list",
    "wait",
  ),
  client: fc.constantFrom<(0 | 1)[]>(0, 1),
  key: fc.nat(2),
  grant: fc.nat(5),
  ttlMs: fc.constantFrom(1, 20, 50, 1000),
  sealed: fc.boolean(),
  payload: fc.option(fc.string({ unit: "binary", maxLength: 8 }), { nil: undefined }),
  retainMs: fc.constantFrom(0, 30, 100_000, null),
  which,
  fence: which,
  flag: fc.boolean(),
  seq: fc.nat(3),
  advanceUs: fc.constantFrom(0, 1, 999, 1000, 10_001, 20_000, 50_500, 2_000_000, -1_500_000),
});

export interface ModelRun {
  readonly backends: readonly [Backend, Backend];
  readonly setClock: (namespace: string, nowUs: bigint) => Promise<void>;
  readonly freshNamespace: () => string;
  readonly startUs: bigint;
}

/** One random run: every answer, and the record after every step, is what the pure functions say. */
async function follow(run: ModelRun, steps: readonly ModelStep[]): Promise<void> {
  const namespace = run.freshNamespace();
  const records = new Map<string, LeaseRecord | null>();
  const before = new Map<string, LeaseRecord>();
  let nowUs = run.startUs;
  await run.setClock(namespace, nowUs);

  async function same<Request extends { name: Name }, Result>(
    request: Request,
    transition: (
      record: LeaseRecord | null,
      request: Request,
      nowUs: bigint,
    ) => { record: LeaseRecord | null; result: Result },
    answer: Promise<Result>,
    client: Backend,
  ): Promise<void> {
    const { key } = request.name;
    const old = records.get(key) ?? null;
    const { record, result } = transition(old, request, nowUs);
    assert.deepEqual(plain(await answer), plain(result));
    if (old !== null && record !== old) before.set(key, old);
    records.set(key, record);
    const seen = await client.inspect(request.name, call());
    assert.deepEqual(plain(seen), plain(record === null ? null : view(record, nowUs)));
  }

  for (const step of steps) {
    const client = run.backends[step.client];
    const key = `l\u001fk${step.key}`;
    const name: Name = { namespace, key };
    const now = records.get(key) ?? null;
    const named = (kind: Which): LeaseRecord | null =>
      kind === "current" ? now : kind === "previous" ? (before.get(key) ?? null) : null;
    const grantId = named(step.which)?.grantId ?? `grant-${step.grant}`;
    const fence = named(step.fence)?.fence ?? (step.fence === "none" ? 0n : 7n);
    const { ttlMs, sealed, payload, retainMs } = step;
    switch (step.verb) {
      case "acquire":
      case "claim":
      case "take-over": {
        const request = {
          name,
          grantId: step.flag ? `grant-${step.grant}` : grantId,
          holder: `holder of ${step.grant}`,
          ttlMs,
          sealed,
          payload,
          retainMs,
          withPayload: step.flag,
          ...(step.verb === "claim" && { ifFence: fence }),
          ...(step.verb === "take-over" && { from: { grantId, fence } }),
        };
        await same(request, transitions.acquire, client.acquire(request, call()), client);
        break;
      }
      case "renew": {
        const stored = payload === undefined ? {} : { payload, payloadSeq: step.seq };
        const request = { name, grantId, fence, ttlMs, ...stored };
        const answer = client.renew([request], call()).then(([outcome]) => outcome ?? "unknown");
        await same(request, transitions.renew, answer, client);
        break;
      }
      case "release": {
        const request = {
          name,
          grantId,
          fence: step.flag ? fence : null,
          sealed: sealed && step.seq > 1,
          payload,
          retainMs,
        };
        await same(request, transitions.release, client.release(request, call()), client);
        break;
      }
      case "overrule": {
        const request = {
          name,
          grantId: step.seq === 0 ? grantId : `operator-${step.grant}`,
          fence,
          released: step.flag ? now?.expiresAt === 0 : sealed,
          sealed: sealed && step.seq > 1,
          payload,
          retainMs,
          now: step.seq > 2,
        };
        await same(request, transitions.overrule, client.overrule(request, call()), client);
        break;
      }
      case "list": {
        const state = (["held", "free", "lapsed", undefined] as const)[step.seq];
        const filter = step.flag ? { state } : { sealed };
        const limit = step.ttlMs === 1 ? 2 : 10;
        const seen = await client.list({ namespace, prefix: "l\u001fk", limit, ...filter }, call());
        const expected = [...records.values()]
          .flatMap((record) => (record === null ? [] : [view({ ...record, payload: undefined }, nowUs)]))
          .filter((record) =>
            step.flag ? state === undefined || record.state === state : record.sealed === sealed,
          )
          .toSorted((a, b) => compareKeys(a.key, b.key))
          .slice(0, limit);
        assert.deepEqual(seen.map(plain), expected.map(plain));
        break;
      }
      case "wait":
        break;
    }
    if (step.advanceUs !== 0) {
      nowUs += BigInt(step.advanceUs);
      await run.setClock(namespace, nowUs);
    }
  }
}

/** Absent and undefined are the same answer. */
function plain(answer: unknown): unknown {
  if (typeof answer !== "object" || answer === null || Array.isArray(answer)) return answer;
  return Object.fromEntries(
    Object.entries(answer)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, plain(value)]),
  );
}

/** Rejects with the shortest run that it finds where the backend and the pure functions differ. */
export async function checkModel(
  run: ModelRun,
  { steps, seed, shrink = true }: { steps: number; seed?: number; shrink?: boolean },
): Promise<void> {
  const length = 100;
  const property = fc.asyncProperty(
    fc.array(modelStep, { minLength: length, maxLength: length, size: "max" }),
    (sequence) => follow(run, sequence),
  );
  await fc.assert(property, {
    numRuns: Math.max(1, Math.round(steps / length)),
    endOnFailure: !shrink,
    ...(seed !== undefined && { seed }),
  });
}
