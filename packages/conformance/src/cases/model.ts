import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { LeaseRecord, Name, RecordView } from "@coord/core";
import { transitions } from "@coord/core";
import fc from "fast-check";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { clientOf, freshGrantId, longTtlMs } from "../client.ts";
import type { Client } from "../client.ts";
import type { Context } from "../context.ts";
import { stored } from "../records.ts";
import { sequence } from "./commands.ts";
import type { Command, FenceChoice } from "./commands.ts";

type Law = (record: LeaseRecord | null, nowUs: bigint) => { record: LeaseRecord | null; result: unknown };

interface Run {
  readonly context: Context;
  readonly name: Name;
  readonly clients: readonly Client[];
  /** The grant ids that the sequence uses again and again; one that is spent gives way to a fresh one. */
  readonly grantIds: string[];
  /** The fence that each of them got last. */
  readonly fences: Map<string, bigint>;
  /** What the store's clock is ahead of `elapsedMs`, in milliseconds. */
  readonly offsetMs: number;
}

const timeFields = ["fence", "expiresAt", "purgeAt"] as const;

/**
 * Whether the store's fields are the law's. A time that the law leaves as it was must be exactly that; one
 * that the law takes from the clock may be off by `windowMs`.
 */
function sameRecord(
  law: LeaseRecord | null,
  before: LeaseRecord | null,
  actual: LeaseRecord | null,
  windowMs: number,
): boolean {
  if (law === null || actual === null) return law === actual;
  const [expected, found] = [stored(law), stored(actual)];
  for (const field of timeFields) {
    const [lawful, real] = [law[field], actual[field]];
    const exact = lawful === null || lawful === 0 || lawful === before?.[field];
    const unit = field === "fence" ? 1000 : 1;
    const off = Math.abs(Number(BigInt(real ?? 0) - BigInt(lawful ?? 0))) / unit;
    if (exact ? real !== lawful : real === null || off > windowMs) return false;
    expected[field] = found[field] = null;
  }
  return isDeepStrictEqual(expected, found);
}

/** Compares two answers: records by `sameRecord`, fences and times within the window, all else exactly. */
function sameAnswer(law: unknown, actual: unknown, before: LeaseRecord | null, windowMs: number): boolean {
  if (typeof law === "bigint" && typeof actual === "bigint") {
    return law === before?.fence ? law === actual : Math.abs(Number(law - actual)) / 1000 <= windowMs;
  }
  if (typeof law !== "object" || law === null || typeof actual !== "object" || actual === null) {
    return law === actual;
  }
  const [expected, found] = [new Map(Object.entries(law)), new Map(Object.entries(actual))];
  for (const key of new Set([...expected.keys(), ...found.keys()])) {
    const [lawful, real]: unknown[] = [expected.get(key), found.get(key)];
    const same =
      key === "record"
        ? sameView(lawful, real, before, windowMs)
        : key === "remainingMs"
          ? Math.abs(Number(lawful) - Number(real)) <= windowMs
          : sameAnswer(lawful, real, before, windowMs);
    if (!same) return false;
  }
  return true;
}

const isView = (value: unknown): value is RecordView =>
  typeof value === "object" && value !== null && "state" in value && "grantId" in value;

function sameView(law: unknown, actual: unknown, before: LeaseRecord | null, windowMs: number): boolean {
  if (!isView(law) || !isView(actual)) return (law ?? null) === (actual ?? null);
  const off = Math.abs(law.remainingMs - actual.remainingMs);
  return law.state === actual.state && off <= windowMs && sameRecord(law, before, actual, windowMs);
}

function fenceOf(choice: FenceChoice, own: bigint, record: LeaseRecord | null): bigint {
  if (choice === "stored") return record?.fence ?? 0n;
  if (choice === "zero") return 0n;
  if (choice === "ahead") return own + 1n;
  return choice === "stale" && own > 0n ? own - 1n : own;
}

/** Mostly the grant that the record has, or for an acquire one that is not spent. */
function chooseGrant({ grantIds, fences }: Run, command: Command, record: LeaseRecord | null): string {
  const { current, grant } = command;
  const stale = grantIds[grant] ?? "";
  if (!current || record === null) return stale;
  const own = grantIds.includes(record.grantId) ? record.grantId : stale;
  if (command.kind !== "acquire" || command.again) return own;
  if (fences.has(stale)) grantIds[grant] = freshGrantId();
  return grantIds[grant] ?? stale;
}

/** The request of a command, sent to the store and decided by the law. */
function prepare(
  run: Run,
  command: Command,
  record: LeaseRecord | null,
): { send: () => Promise<unknown>; law: Law } {
  const { name, context } = run;
  const client = run.clients[command.client] ?? context.one;
  const grantId = chooseGrant(run, command, record);
  const own = run.fences.get(grantId) ?? 1n;
  const storedFence = record?.fence ?? 0n;
  const ttlMs = command.short ? context.timing.ttlMs : longTtlMs;
  const { sealed, payload, retainMs } = command;
  const common = { name, grantId, sealed, payload, retainMs };
  const options = client.options;
  if (command.kind === "acquire") {
    const { ifFence, from, withPayload } = command;
    const another = run.grantIds[(command.grant + 1) % run.grantIds.length] ?? grantId;
    const fromId = command.current ? (record?.grantId ?? another) : another;
    const request = {
      ...common,
      ttlMs,
      withPayload,
      holder: grantId.repeat(10),
      ifFence: ifFence && fenceOf(ifFence, storedFence, record),
      from: from && { grantId: fromId, fence: fenceOf(from, storedFence, record) },
    };
    return {
      send: () => client.backend.acquire(request, options()),
      law: (before, nowUs) => transitions.acquire(before, request, nowUs),
    };
  }
  if (command.kind === "renew") {
    const { payloadSeq } = command;
    const request = { name, grantId, fence: fenceOf(command.fence, own, record), ttlMs, payload, payloadSeq };
    const batch = command.twice ? [request, { ...request, payload: undefined }] : [request];
    return {
      send: () => client.backend.renew(batch, options()),
      law: (before, nowUs) => {
        const result: unknown[] = [];
        let after = before;
        for (const each of batch) {
          const decided = transitions.renew(after, each, nowUs);
          result.push(decided.result);
          after = decided.record;
        }
        return { record: after, result };
      },
    };
  }
  if (command.kind === "release") {
    const request = { ...common, fence: command.anyFence ? null : fenceOf(command.fence, own, record) };
    return {
      send: () => client.backend.release(request, options()),
      law: (before, nowUs) => transitions.release(before, request, nowUs),
    };
  }
  const request = {
    ...common,
    grantId: `${grantId}-overrule`,
    fence: fenceOf(command.fence, storedFence, record),
    released: command.flip ? record?.expiresAt !== 0 : record?.expiresAt === 0,
    now: command.now,
  };
  return {
    send: () => client.backend.overrule(request, options()),
    law: (before, nowUs) => transitions.overrule(before, request, nowUs),
  };
}

async function step(run: Run, command: Command, before: LeaseRecord | null): Promise<LeaseRecord | null> {
  const { context, name, offsetMs } = run;
  const { slackMs } = context.timing;
  const { send, law } = prepare(run, command, before);
  const sentMs = context.elapsedMs() + offsetMs;
  const answer = await send();
  const answeredMs = context.elapsedMs() + offsetMs;
  const after = (await run.clients[0]?.inspect(name)) ?? null;
  const windowMs = answeredMs - sentMs + 2 * slackMs;
  const [earliestMs, latestMs] = [sentMs - slackMs, answeredMs + slackMs];
  // Whether the store decided before or after the expiry is open where it falls into the window.
  const expiryMs = before?.expiresAt ?? 0;
  const instants = [earliestMs, latestMs, expiryMs - 1, expiryMs];
  const laws = instants
    .filter((nowMs) => nowMs >= earliestMs && nowMs <= latestMs)
    .map((nowMs) => law(before, BigInt(Math.round(nowMs * 1000))));
  const agreed = laws.some(
    ({ record, result }) =>
      sameAnswer(result, answer, before, windowMs) && sameRecord(record, before, after, windowMs),
  );
  if (!agreed) {
    const [lawful] = laws;
    assert.deepEqual({ command, before, answer, after }, { command, before, ...lawful });
    assert.fail("the answers differ from the law");
  }
  if (after !== null) run.fences.set(after.grantId, after.fence);
  return after;
}

async function play(context: Context, commands: readonly Command[], offsetMs: number): Promise<void> {
  const name = context.name();
  // Many are played at once: what one call of them takes says nothing.
  const patient = (client: Client): Client => clientOf(client.backend, 6 * context.timing.callMs);
  const clients = [patient(context.one), patient(await context.two())];
  const grantIds = Array.from({ length: 4 }, freshGrantId);
  const run: Run = { context, name, clients, grantIds, fences: new Map(), offsetMs };
  let record: LeaseRecord | null = null;
  for (const command of commands) {
    if (command.lapseFirst && record !== null) {
      const { state, remainingMs } = await context.one.see(name);
      if (state === "held" && remainingMs <= context.timing.ttlMs) await context.lapsed(name);
    }
    record = await step(run, command, record);
  }
}

/** What the store's clock is ahead of ours: from the quickest of five looks. */
async function offsetOf(context: Context): Promise<number> {
  let best = { tookMs: Infinity, offsetMs: 0 };
  for (let i = 0; i < 5; i += 1) {
    const sentMs = context.elapsedMs();
    const { storeMs } = (await context.one.diagnose()).clock;
    const tookMs = context.elapsedMs() - sentMs;
    if (tookMs < best.tookMs) best = { tookMs, offsetMs: storeMs - sentMs - tookMs / 2 };
  }
  return best.offsetMs;
}

/** Sequences that are played side by side, each on a name of its own. */
const atOnce = 16;

function withSeed(error: unknown, seed: number): unknown {
  if (error instanceof Error) error.message = `with seed ${seed}: ${error.message}`;
  return error;
}

export const model: readonly Case[] = casesOf("model", {
  "random-sequences": {
    title: "random sequences of the five operations from two clients are answered as the law answers them",
    async run(context) {
      const offsetMs = await offsetOf(context);
      const seed = context.seed ?? randomInt(2 ** 31);
      const rounds = context.opened.passTime === undefined ? 2 : 6;
      const sequences = fc.sample(sequence, { seed, numRuns: rounds * atOnce });
      // No shrinking: a failure shows the single step that went wrong, and the record before it.
      for (let round = 0; round < rounds; round += 1) {
        const all = sequences.slice(round * atOnce, (round + 1) * atOnce);
        const plays = all.map(async (commands) => await play(context, commands, offsetMs));
        const failed = (await Promise.allSettled(plays)).find((end) => end.status === "rejected");
        if (failed !== undefined) throw withSeed(failed.reason, seed);
      }
    },
  },
});
