import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { BackendInfo, Name } from "@coord/core";
import { isCoordError } from "@coord/core";
import { clientOf, longTtlMs } from "./client.ts";
import type { Client, Granted } from "./client.ts";
import type { Declared, Harness, Opened, Timing } from "./harness.ts";

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
export const defaultCaseMs = 60_000;

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
  const one = clientOf(backend, callMs);
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
  const context: Context = {
    opened,
    info: backend.info,
    timing,
    declared: declaredBy(harness),
    seed: harness.seed,
    one,
    two: () => (second ??= opened.second().then((other) => clientOf(other, callMs))),
    name: (key = `name ${(names += 1)}`) => ({ namespace: opened.namespace, key: `l\u001f${key}` }),
    pass,
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
      const end = performance.now() + 4 * callMs;
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
