import assert from "node:assert/strict";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { longTtlMs } from "../client.ts";
import { assertWithin } from "../records.ts";

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

let clockIsFree: Promise<unknown> = Promise.resolve();

/** One at a time, as the clock is that of the whole process. */
function withClockOff<T>(offsetMs: number, action: () => Promise<T>): Promise<T> {
  const run = clockIsFree.then(() => withDate(offsetMs, action));
  clockIsFree = run.catch(() => {});
  return run;
}

/** Runs `action` while this process believes that it is `offsetMs` later. */
async function withDate<T>(offsetMs: number, action: () => Promise<T>): Promise<T> {
  const RealDate = globalThis.Date;
  const now = (): number => RealDate.now() + offsetMs;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, given: [], newTarget: typeof RealDate) =>
      Reflect.construct(target, given.length === 0 ? [now()] : given, newTarget),
    get: (target, property, receiver) =>
      property === "now" ? now : (Reflect.get(target, property, receiver) as unknown),
  });
  try {
    return await action();
  } finally {
    globalThis.Date = RealDate;
  }
}

export const expiry: readonly Case[] = casesOf("expiry", {
  "remaining-within-slack": {
    title: "remainingMs counts down from the ttl, and inspect, list and refusal agree on it",
    async run({ one, two, name, opened, timing, elapsedMs }) {
      const lease = name("remaining");
      const sentMs = elapsedMs();
      await one.grant(lease, { ttlMs: longTtlMs });
      const inspected = await one.see(lease);
      const refused = await (await two()).refuse(lease, "held");
      const [listed] = await one.list({ namespace: opened.namespace, prefix: lease.key });
      const leastMs = longTtlMs - (elapsedMs() - sentMs) - 2;
      for (const remainingMs of [inspected.remainingMs, refused.remainingMs, listed?.remainingMs ?? 0]) {
        assertWithin(remainingMs, leastMs, longTtlMs + timing.slackMs, "remainingMs");
        assert.ok(Number.isInteger(remainingMs), "remainingMs is whole milliseconds");
      }
    },
  },
  "by-the-store-clock": {
    title: "expiresAt is the store's clock plus the ttl, in milliseconds",
    async run({ one, name, timing }) {
      const lease = name();
      const before = (await one.diagnose()).clock.storeMs;
      await one.grant(lease, { ttlMs: longTtlMs });
      const after = (await one.diagnose()).clock.storeMs;
      const { expiresAt } = await one.see(lease);
      assertWithin(
        expiresAt,
        Math.floor(before) + longTtlMs - 2,
        after + longTtlMs + timing.slackMs,
        "expiresAt",
      );
      assert.ok(Number.isInteger(expiresAt), "expiresAt is whole milliseconds");
    },
  },
  "takeover-not-before": {
    title: "a lease that is not renewed is never taken over before its ttl has passed",
    async run(context) {
      const { coreTtlMs: ttlMs } = context;
      const name = context.name();
      const other = await context.two();
      const sentMs = context.elapsedMs();
      await context.one.grant(name, { ttlMs });
      const takeOver = async (): Promise<number | undefined> =>
        (await other.acquire(name)).outcome === "granted" ? context.elapsedMs() - sentMs : undefined;
      let tookMs = await takeOver();
      if (tookMs === undefined) {
        await context.pass(ttlMs - 150);
        tookMs = await context.until("takeover", async () => {
          await context.pass(Math.min(context.timing.pollMs, 5));
          return await takeOver();
        });
      }
      // A millisecond is for clocks that tick at different rates.
      assertWithin(tookMs, ttlMs - 1, Infinity, "milliseconds until the takeover");
    },
  },
  "takeover-not-much-after": {
    title: "a lease that is not renewed may be taken over soon after its ttl",
    async run(context) {
      const { ttlMs, slackMs } = context.timing;
      const name = context.name();
      await context.one.grant(name, { ttlMs });
      await context.pass(ttlMs + slackMs);
      await (await context.two()).grant(name);
    },
  },
  "takeover-after-renewal": {
    title: "a renewed lease is not taken over at its first expiry",
    async run(context) {
      const { ttlMs, slackMs } = context.timing;
      const name = context.name();
      const grant = await context.one.grant(name, { ttlMs: 2 * ttlMs });
      await context.one.renew(grant, { ttlMs: 10 * ttlMs });
      await context.pass(2 * ttlMs + slackMs);
      await (await context.two()).refuse(name, "held");
    },
  },
  "ttl-limits": {
    title: "the backend's shortest ttl and a ttl of 24 hours are granted as asked",
    async run({ one, name, timing }) {
      await one.grant(name(), { ttlMs: timing.minTtlMs });
      const day = name();
      await one.grant(day, { ttlMs: dayMs, retainMs: 400 * dayMs });
      const { remainingMs, purgeAt, expiresAt } = await one.see(day);
      assertWithin(remainingMs, dayMs - hourMs, dayMs + timing.slackMs, "remainingMs");
      const keptMs = (purgeAt ?? 0) - expiresAt;
      assertWithin(keptMs, 400 * dayMs, 400 * dayMs + timing.slackMs, "milliseconds kept after expiry");
    },
  },
  "client-clock-off": {
    title: "a client whose clock is an hour off, either way, changes nothing",
    alone: true,
    async run({ one, two, name, timing }) {
      const other = await two();
      for (const offsetMs of [hourMs, -hourMs]) {
        const [held, fresh, freed] = [name(), name(), name()];
        const grant = await one.grant(held, { ttlMs: longTtlMs });
        const ended = await one.grant(freed);
        const { storeMs } = (await one.diagnose()).clock;
        const offset = await withClockOff(offsetMs, async () => {
          await other.refuse(held, "held");
          assert.equal(await other.renew(grant, { ttlMs: longTtlMs }), "renewed");
          await other.release(ended, { retainMs: hourMs });
          return await other.grant(fresh, { ttlMs: longTtlMs });
        });
        for (const lease of [held, fresh]) {
          const { remainingMs } = await one.see(lease);
          assertWithin(remainingMs, longTtlMs / 2, longTtlMs + timing.slackMs, "remainingMs");
        }
        const fenceMs = Number(offset.fence / 1000n);
        assertWithin(fenceMs, storeMs - timing.slackMs, storeMs + hourMs / 2, "the fence in milliseconds");
        const { purgeAt } = await one.see(freed);
        assertWithin(purgeAt ?? 0, storeMs + hourMs / 2, storeMs + 1.5 * hourMs, "purgeAt");
        await one.refuse(fresh, "held");
      }
    },
  },
});
