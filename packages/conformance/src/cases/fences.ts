import assert from "node:assert/strict";
import type { Name } from "@coord/core";
import { isCoordError } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { longTtlMs } from "../client.ts";
import type { Context } from "../context.ts";
import { assertWithin } from "../records.ts";

const hourMs = 3_600_000;

function assertRising(fences: readonly bigint[]): void {
  for (const [i, fence] of fences.entries()) {
    const before = fences[i - 1] ?? 0n;
    assert.ok(fence > before, `fence ${fence} must be above the one before, ${before}`);
  }
}

/** Grants and releases; `between` happens while the name is free. */
async function grantTwice(context: Context, name: Name, between: () => Promise<unknown>): Promise<void> {
  const { one } = context;
  const first = await one.grant(name);
  await one.release(first);
  await between();
  assertRising([first.fence, (await (await context.two()).grant(name)).fence]);
}

/** Microseconds since 1970 by the store's clock. */
async function storeUs({ one }: Context): Promise<bigint> {
  return BigInt(Math.round((await one.diagnose()).clock.storeMs)) * 1000n;
}

export const fences: readonly Case[] = casesOf("fences", {
  "rise-over-everything": {
    title: "fences rise over grants, releases, hand-overs, overrules and lapses, by two clients in turn",
    async run(context) {
      const name = context.name();
      const [one, two] = [context.one, await context.two()];
      const seen: bigint[] = [];
      for (const client of [one, two, one]) {
        const grant = await client.grant(name);
        const handed = await two.grant(name, { from: grant });
        seen.push(grant.fence, handed.fence, await one.depose(name, { now: true }));
        const last = await two.grant(name);
        seen.push(last.fence);
        await one.release(last);
      }
      seen.push((await context.grantLapsed(name)).fence);
      seen.push((await two.grant(name)).fence);
      assertRising(seen);
    },
  },
  "rise-in-a-hurry": {
    title: "grants faster than the clock ticks still rise, one by one",
    async run({ one, name }) {
      const lease = name();
      const seen: bigint[] = [];
      for (let i = 0; i < 25; i += 1) {
        const grant = await one.grant(lease);
        seen.push(grant.fence);
        await one.release(grant);
      }
      assertRising(seen);
    },
  },
  "rise-in-a-race": {
    title: "two clients that race for a name over ten rounds never share a fence",
    async run(context) {
      const name = context.name();
      const seen: bigint[] = [];
      const clients = [context.one, await context.two()];
      for (let round = 0; round < 10; round += 1) {
        const results = await Promise.all(
          clients.map((client) => context.resolve(() => client.acquire(name))),
        );
        const granted = results.filter((result) => result.outcome === "granted");
        assert.equal(granted.length, 1, "one of two wins");
        seen.push(...granted.map(({ fence }) => fence));
        const { grantId, fence } = await context.one.see(name);
        await context.one.release({ name, grantId, fence });
      }
      assertRising(seen);
    },
  },
  "from-the-clock": {
    title: "a new name's fence is the store's clock in microseconds, never 0 or 1",
    async run(context) {
      const before = await storeUs(context);
      const { fence } = await context.one.grant(context.name());
      const after = await storeUs(context);
      const slackUs = BigInt(context.timing.slackMs) * 1000n;
      assert.ok(fence >= before - slackUs, `fence ${fence} is not behind the store's clock, ${before}`);
      assert.ok(fence <= after + slackUs, `fence ${fence} is not ahead of the store's clock, ${after}`);
    },
  },
  "answers-agree": {
    title: "the answer, the record, the list and the refusal show the same fence",
    async run({ one, two, name, opened }) {
      const lease = name("agree");
      const { fence } = await one.grant(lease);
      const refused = await (await two()).refuse(lease, "held");
      const [listed] = await one.list({ namespace: opened.namespace, prefix: lease.key });
      assert.deepEqual(
        [refused.record?.fence, (await one.see(lease)).fence, listed?.fence],
        [fence, fence, fence],
      );
    },
  },
  "rise-over-clean-up": {
    title: "fences rise over clean-up, which leaves no counter behind",
    requires: ["prune"],
    alone: true,
    async run(context) {
      const { one } = context;
      const name = context.name();
      const first = await one.grant(name);
      await one.release(first, { retainMs: 1 });
      await context.pass(2 + context.timing.slackMs);
      await context.until("clean-up", async () => {
        await one.prune();
        return (await one.inspect(name)) === null;
      });
      assertRising([first.fence, (await one.grant(name)).fence]);
    },
  },
  "rise-over-deletion": {
    title: "fences rise over a record that was deleted by hand",
    requires: ["deleteRecord"],
    run: async (context) => {
      const name = context.name();
      await grantTwice(context, name, async () => await context.opened.deleteRecord?.(name));
    },
  },
  "rise-over-clock-step-back": {
    title: "fences rise over a store clock that is stepped back an hour",
    requires: ["stepClock"],
    alone: true,
    run: async (context) =>
      await grantTwice(context, context.name(), async () => await context.opened.stepClock?.(-hourMs)),
  },
  "rise-over-restart": {
    title: "fences rise over a restart of the server",
    requires: ["restart"],
    alone: true,
    run: async (context) =>
      await grantTwice(context, context.name(), async () => await context.opened.restart?.()),
  },
  "far-ahead": {
    title: "after a fence far in the future the next one is that plus one, for grant, hand-over and overrule",
    requires: ["writeFence"],
    async run(context) {
      const { one, opened } = context;
      const name = context.name();
      await one.release(await one.grant(name));
      const ahead = (await storeUs(context)) + BigInt(10 * hourMs) * 1000n;
      await opened.writeFence?.(name, ahead);
      const grant = await one.grant(name);
      const handed = await one.grant(name, { from: grant });
      const overruled = await one.depose(name, { now: true });
      const last = await one.grant(name);
      const expected = [1n, 2n, 3n, 4n].map((step) => ahead + step);
      assert.deepEqual([grant.fence, handed.fence, overruled, last.fence], expected);
    },
  },
  "far-ahead-kept": {
    title: "a record whose fence is ahead of the clock is not purged before the clock gets there",
    requires: ["writeFence", "prune"],
    alone: true,
    async run(context) {
      const { one, opened, timing } = context;
      const name = context.name();
      await one.release(await one.grant(name));
      const ahead = (await storeUs(context)) + BigInt(10 * hourMs) * 1000n;
      await opened.writeFence?.(name, ahead);
      await one.release(await one.grant(name), { retainMs: 1 });
      await context.pass(timing.slackMs + 10);
      await one.prune();
      const { purgeAt } = await one.see(name);
      const aheadMs = Number(ahead / 1000n);
      assertWithin(purgeAt ?? 0, aheadMs, aheadMs + 2 + timing.slackMs, "purgeAt");
    },
  },
  "exact-above-2-to-53": {
    title: "a fence above 2^53 is counted exactly, or the grant is refused with an error, never rounded",
    requires: ["writeFence"],
    async run({ one, opened, name }) {
      const lease = name();
      await one.release(await one.grant(lease));
      const beyond = 2n ** 53n + 1n;
      await opened.writeFence?.(lease, beyond);
      const result = await one.acquire(lease, { ttlMs: longTtlMs }).catch((error: unknown) => {
        assert.ok(isCoordError(error), `an error of the library, got ${String(error)}`);
        return null;
      });
      if (result === null) return;
      assert.equal(result.outcome, "granted");
      assert.equal(result.fence, beyond + 1n);
      const { grantId, fence } = await one.see(lease);
      assert.equal(fence, beyond + 1n);
      assert.equal(await one.renew({ name: lease, grantId, fence: fence - 1n }), "lost");
      assert.equal(await one.renew({ name: lease, grantId, fence: fence + 1n }), "lost");
      assert.equal(await one.renew({ name: lease, grantId, fence }), "renewed");
      assert.equal((await one.release({ name: lease, grantId, fence: fence + 1n })).outcome, "lost");
    },
  },
});
