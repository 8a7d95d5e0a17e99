import { isDeepStrictEqual } from "node:util";
import type { LeaseRecord } from "@coord/core";
import { isCoordError, transitions } from "@coord/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { callOptions, freshName, openFakeStore } from "./fake-store.ts";

/** 1 s for the Date header's coarseness and 1 s for skew: what the backend adds to each ttl. */
const padMs = 2000;
const options = callOptions();
const retainMs = 60_000;

const command = fc.record({
  verb: fc.constantFrom<"acquire" | "renew" | "release" | "overrule" | "inspect">(
    "acquire",
    "acquire",
    "renew",
    "renew",
    "release",
    "overrule",
    "inspect",
  ),
  client: fc.nat({ max: 1 }),
  // Whole seconds, as the Date header tells no more.
  waitSeconds: fc.constantFrom(0, 0, 0, 1, 10, 18),
  fault: fc.constantFrom("none", "none", "none", "swallow", "drop"),
  grantId: fc.constantFrom("g1", "g2", "g3"),
  from: fc.option(fc.constantFrom("g1", "g2", "g3"), { freq: 3, nil: undefined }),
  isConditional: fc.constantFrom(false, false, true),
  fenceStep: fc.constantFrom(0n, 0n, 0n, 1n),
  sealed: fc.constantFrom(false, false, true),
  now: fc.boolean(),
  withPayload: fc.boolean(),
  payload: fc.option(fc.constantFrom("", "{}", "\u{1f600}"), { nil: undefined }),
  payloadSeq: fc.nat({ max: 2 }),
});

type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;
type Opened = Awaited<ReturnType<typeof openFakeStore>>;
type Law = (record: LeaseRecord | null, nowUs: bigint) => { record: LeaseRecord | null; result: unknown };

interface Step {
  readonly send: () => Promise<unknown>;
  readonly law: Law;
}

function stepOf(
  backend: ReturnType<Opened["open"]>,
  name: ReturnType<typeof freshName>,
  asked: Command,
  record: LeaseRecord | null,
): Step {
  const { verb, grantId, sealed, payload, payloadSeq, withPayload, now } = asked;
  const fence = (record?.fence ?? 0n) + asked.fenceStep;
  const common = { name, grantId, sealed, payload, retainMs };
  const ttlMs = 15_000;
  if (verb === "acquire") {
    const from = asked.from === undefined ? undefined : { grantId: asked.from, fence };
    const ifFence = asked.isConditional ? fence : undefined;
    const request = { ...common, holder: "h é", ttlMs, from, ifFence, withPayload };
    return {
      send: () => backend.acquire(request, options),
      law: (before, nowUs) => transitions.acquire(before, { ...request, ttlMs: ttlMs + padMs }, nowUs),
    };
  }
  if (verb === "renew") {
    const request = { name, grantId, fence, ttlMs, payload, payloadSeq };
    return {
      send: async () => (await backend.renew([request], options))[0],
      law: (before, nowUs) => transitions.renew(before, { ...request, ttlMs: ttlMs + padMs }, nowUs),
    };
  }
  if (verb === "release") {
    const request = { ...common, fence: asked.now ? null : fence };
    return {
      send: () => backend.release(request, options),
      law: (before, nowUs) => transitions.release(before, request, nowUs),
    };
  }
  if (verb === "overrule") {
    const request = { ...common, grantId: `o${grantId}`, fence, released: record?.expiresAt === 0, now };
    return {
      send: () => backend.overrule(request, options),
      law: (before, nowUs) => transitions.overrule(before, request, nowUs),
    };
  }
  return {
    send: () => backend.inspect(name, options),
    law: (before, nowUs) => ({
      record: before,
      result: before === null ? null : transitions.view(before, nowUs),
    }),
  };
}

/** From memory a process takes the store's clock to be up to a second ahead of what the header says. */
const aheadUs = [0n, 1_000_000n];

const released = { outcome: "released" };

async function play(commands: readonly Command[]): Promise<void> {
  const startMs = 1_900_000_000_000;
  const store = await openFakeStore(startMs);
  const clients = [store.open(), store.open()];
  const name = freshName();
  /** What the record may be, as far as the answers so far can tell. */
  let possible: (LeaseRecord | null)[] = [null];
  try {
    for (const each of commands) {
      store.pass(each.waitSeconds * 1000);
      const nowUs = BigInt(startMs + store.fake.shiftMs) * 1000n;
      const { send, law } = stepOf(clients[each.client] ?? store.open(), name, each, possible[0] ?? null);
      const fault = {
        match: ({ method }: { method: string }) => method !== "GET",
        times: 1,
        [each.fault]: true,
      };
      if (each.fault !== "none") store.fake.faults.push(fault);
      const isFromMemory = each.verb === "renew" || each.verb === "release";
      const clocks = (isFromMemory ? aheadUs : [0n]).map((us) => nowUs + us);
      for (let answered = false, isRepeat = false; !answered;) {
        const answer: unknown = await send().catch((error: unknown) => {
          if (!isCoordError(error, "COORD_UNAVAILABLE")) throw error;
          return "unknown";
        });
        answered = answer !== "unknown";
        const lawful = possible.flatMap((before) => clocks.map((clock) => law(before, clock)));
        const agreeing = lawful.filter(
          ({ result }) =>
            !answered ||
            isDeepStrictEqual(plain(result), plain(answer)) ||
            // What it wrote before the reply was lost, it reads back and takes for its own.
            (isRepeat && each.verb === "release" && isDeepStrictEqual(plain(answer), released)),
        );
        isRepeat = true;
        const lawfulAnswer = agreeing.length === 0 ? lawful[0]?.result : answer;
        expect({ [each.verb]: answer }).toEqual({ [each.verb]: lawfulAnswer });
        if (answered || each.fault === "swallow") possible = distinct(agreeing.map(({ record }) => record));
      }
      store.fake.faults.splice(0);
    }
  } finally {
    await store.close();
  }
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_, field: unknown) => (typeof field === "bigint" ? `${field}n` : field));
/** An absent field and an undefined one are alike. */
const plain = (value: unknown): unknown => (value === undefined ? undefined : JSON.parse(text(value)));
const distinct = (records: readonly (LeaseRecord | null)[]): (LeaseRecord | null)[] => [
  ...new Map(records.map((record) => [text(record), record])).values(),
];

test("two clients answer exactly as the transitions do, also when requests or replies are lost", async () => {
  const steps = Number(process.env["COORD_STEPS"] ?? 2000);
  const numRuns = Math.ceil(steps / 40);
  await fc.assert(fc.asyncProperty(fc.array(command, { minLength: 20, maxLength: 60 }), play), { numRuns });
}, 600_000);
