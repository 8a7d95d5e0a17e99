import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { BackendInfo, Host, Name } from "@coord/core";
import { isCoordError, systemHost } from "@coord/core";
import { clientOf, longTtlMs } from "./client.ts";
import type { Client, Granted } from "./client.ts";
import type { Declared, Harness, Opened, Timing } from "./harness.ts";
import { counted } from "./through.ts";
import type { Traffic } from "./through.ts";
import { drivenHost } from "./time.ts";

type Complete<Options> = { readonly [Key in keyof Options]-?: Exclude<Options[Key], undefined> };

/** What a case works with. */
export interface Context {
  readonly opened: Opened;
  readonly info: BackendInfo;
  readonly timing: Complete<Timing>;
  readonly declared: Complete<Declared>;
  /** The seed of random sequences; `undefined` = random. */
  readonly seed: number | undefined;
  /** The first client. */
  readonly one: Client;
  /** A client on an independent connection; the same at each call. */
  readonly two: () => Promise<Client>;
  /** A name that nobody has used. */
  readonly name: (key?: string) => Name;
  /** Lets the store's time pass: by its injected clock if it has one, else by waiting. */
  readonly pass: (ms: number) => Promise<void>;
  /** Lets time pass for the store and for core on `host`, which keeps up with it. */
  readonly elapse: (ms: number) => Promise<void>;
  /** Lets time pass for core alone, as the store is out of reach, until its `signal` aborts. */
  readonly untilAborted: (signal: AbortSignal, limitMs: number) => Promise<void>;
  /** Lets time pass for both until `promise` settles; rejects with `what` after `limitMs` of that time. */
  readonly during: <T>(what: string, promise: Promise<T>, limitMs: number) => Promise<T>;
  /** Lets time pass for both until `condition` answers something truthy. */
  readonly untilElapsed: <T>(
    what: string,
    condition: () => Promise<T> | T,
    limitMs: number,
  ) => Promise<NonNullable<T>>;
  /** The clock and timers for coordinators, which `elapse` puts forward. */
  readonly host: Host;
  /** A ttl in milliseconds that coordinators renew in time on a busy machine. */
  readonly coreTtlMs: number;
  /** Elapsed milliseconds as the store should see them. */
  readonly elapsedMs: () => number;
  /** Waits until `condition` answers something truthy; rejects with `what` after `limitMs`. */
  readonly until: <T>(
    what: string,
    condition: () => Promise<T | false | null | undefined>,
    limitMs?: number,
  ) => Promise<T>;
  /** Waits until the record is lapsed by the store's clock. */
  readonly lapsed: (name: Name) => Promise<void>;
  /** Repeats the same request while its outcome is unknown, as core does. */
  readonly resolve: <T>(call: () => Promise<T>) => Promise<T>;
  /** A grant that has lapsed. */
  readonly grantLapsed: (name: Name, wishes?: Parameters<Client["grant"]>[1]) => Promise<Granted>;
}

/** The time limit of one case in milliseconds. */
export const defaultCaseMs = 120_000;

function timingOf(harness: Harness, info: BackendInfo): Complete<Timing> {
  const minTtlMs = harness.timing?.minTtlMs ?? info.minTtlMs ?? 250;
  return {
    minTtlMs,
    ttlMs: harness.timing?.ttlMs ?? Math.max(1000, 2 * minTtlMs),
    slackMs: (harness.timing?.slackMs ?? 250) + (info.granularityMs ?? 1),
    pollMs: harness.timing?.pollMs ?? 20,
    callMs: harness.timing?.callMs ?? 5000,
    caseMs: harness.timing?.caseMs ?? defaultCaseMs,
  };
}

function declaredBy(harness: Harness): Complete<Declared> {
  const { footprint = 0, wokenPerRelease = 1, wakeMs = 2000 } = harness.declared ?? {};
  return { footprint, wokenPerRelease, wakeMs };
}

let names = 0;

export function contextOf(harness: Harness, opened: Opened): Context {
  const { backend } = opened;
  const timing = timingOf(harness, backend.info);
  const { ttlMs, pollMs, slackMs, callMs } = timing;
  const traffic: Traffic = new Set();
  const one = clientOf(counted(backend, traffic), callMs);
  const driven = opened.passTime === undefined ? undefined : drivenHost();
  const host = driven?.host ?? systemHost;
  // Time that is passed costs the same however much it is; time that is waited for should be short.
  const coreTtlMs = Math.max(ttlMs, driven === undefined ? 4000 : 10_000);
  // Half of the margin that core keeps: at each step it may be behind the store by so much.
  const stepMs = driven === undefined ? pollMs : Math.min(500, coreTtlMs / 20);
  let second: Promise<Client> | undefined;
  let passedMs = 0;

  const until: Context["until"] = async (what, condition, limitMs = 4 * ttlMs + 4 * callMs) => {
    const end = performance.now() + limitMs;
    for (;;) {
      const answer = await condition();
      if (answer) return answer;
      if (performance.now() > end) assert.fail(`not within ${limitMs} ms: ${what}`);
      await sleep(pollMs);
    }
  };
  const pass: Context["pass"] = async (ms) => {
    if (opened.passTime === undefined) return await sleep(ms);
    await opened.passTime(ms);
    passedMs += ms;
  };
  /** What core's timers have sent is answered, but for calls that are not answered in time anyway. */
  const settle = async (): Promise<void> => {
    do await sleep(2);
    while ([...traffic].some(({ sentMs }) => performance.now() - sentMs < callMs));
  };
  const elapse: Context["elapse"] = async (ms) => {
    for (let leftMs = ms; leftMs > 0; leftMs -= stepMs) {
      const step = Math.min(leftMs, stepMs);
      await pass(step);
      driven?.advance(step);
      if (driven !== undefined) await settle();
    }
  };
  const untilAborted: Context["untilAborted"] = async (signal, limitMs) => {
    const endMs = host.monotonicMs() + limitMs;
    while (!signal.aborted) {
      if (host.monotonicMs() > endMs) assert.fail(`not within ${limitMs} ms: the signal aborts`);
      driven?.advance(stepMs);
      // Nothing is answered; whoever is told by a timer is told in these turns.
      await sleep(driven === undefined ? stepMs : 20);
    }
  };
  const untilElapsed: Context["untilElapsed"] = async (what, condition, limitMs) => {
    const endMs = context.elapsedMs() + limitMs;
    for (;;) {
      const answer = await condition();
      if (answer) return answer;
      if (context.elapsedMs() > endMs) assert.fail(`not within ${limitMs} ms: ${what}`);
      await elapse(stepMs);
    }
  };
  const context: Context = {
    opened,
    info: backend.info,
    timing,
    declared: declaredBy(harness),
    seed: harness.seed,
    one,
    two: () => (second ??= opened.second().then((other) => clientOf(counted(other, traffic), callMs))),
    name: (key = `name ${(names += 1)}`) => ({ namespace: opened.namespace, key: `l\u001f${key}` }),
    pass,
    elapse,
    untilAborted,
    untilElapsed,
    async during(what, promise, limitMs) {
      let settled = false;
      const watched = promise.finally(() => (settled = true));
      watched.catch(() => {});
      await untilElapsed(what, () => settled, limitMs);
      return await watched;
    },
    host,
    coreTtlMs,
    elapsedMs: () => performance.now() + passedMs,
    until,
    async lapsed(name) {
      const { remainingMs } = await one.see(name);
      assert.ok(remainingMs <= longTtlMs / 2, "only a short ttl is waited out");
      await pass(remainingMs);
      const late = slackMs + remainingMs;
      await until("the lease lapses", async () => (await one.see(name)).state === "lapsed", late);
    },
    async resolve(call) {
      const end = performance.now() + 8 * callMs;
      for (;;) {
        try {
          return await call();
        } catch (error) {
          if (!isCoordError(error, "COORD_UNAVAILABLE") || performance.now() > end) throw error;
          await sleep(pollMs);
        }
      }
    },
    async grantLapsed(name, wishes) {
      const grant = await one.grant(name, { ttlMs, ...wishes });
      await context.lapsed(name);
      return grant;
    },
  };
  return context;
}
