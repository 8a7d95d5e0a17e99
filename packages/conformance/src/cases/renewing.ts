import assert from "node:assert/strict";
import type { RenewRequest } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { clientOf, freshGrantId, longTtlMs } from "../client.ts";
import { assertWithin, each, untouched } from "../records.ts";

const ttlMs = longTtlMs;

export const renewing: readonly Case[] = casesOf("renewing", {
  extends: {
    title: "a renewal extends the expiry to its ttl from now, and changes nothing else but purgeAt",
    async run({ one, name, timing, elapsedMs }) {
      const lease = name();
      const grant = await one.grant(lease, { payload: "p", sealed: true });
      const before = await one.see(lease);
      const sentMs = elapsedMs();
      assert.equal(await one.renew(grant, { ttlMs: 2 * longTtlMs }), "renewed");
      const after = await one.see(lease);
      const passedMs = elapsedMs() - sentMs;
      assertWithin(
        after.remainingMs,
        2 * longTtlMs - passedMs - timing.slackMs,
        2 * longTtlMs + timing.slackMs,
        "remainingMs",
      );
      const { expiresAt, remainingMs } = after;
      assert.deepEqual({ ...after }, { ...before, expiresAt, remainingMs });
    },
  },
  "never-shortens": {
    title: "a renewal with a shorter ttl leaves the expiry where it is",
    async run({ one, name, timing }) {
      const lease = name();
      const grant = await one.grant(lease);
      await untouched(one, lease, async () => {
        assert.equal(await one.renew(grant, { ttlMs: timing.minTtlMs }), "renewed");
      });
    },
  },
  "lost-after-lapse": {
    title: "a lapsed lease is lost, with and without payload, and is not revived",
    async run(context) {
      const { one } = context;
      const name = context.name();
      const grant = await context.grantLapsed(name, { payload: "p" });
      await untouched(one, name, async () => {
        assert.equal(await one.renew(grant), "lost");
        assert.equal(await one.renew(grant, { payload: "late", payloadSeq: 1 }), "lost");
      });
      await one.grant(name);
    },
  },
  "lost-after-takeover": {
    title: "a stale renewal is lost and never touches a newer holder's lease or payload",
    async run(context) {
      const name = context.name();
      const other = await context.two();
      const stale = await context.grantLapsed(name, { payload: "old" });
      const fresh = await other.grant(name, { payload: "new" });
      await untouched(other, name, async () => {
        assert.equal(await context.one.renew(stale, { ttlMs: 2 * longTtlMs }), "lost");
        assert.equal(await context.one.renew(stale, { payload: "stale", payloadSeq: 9 }), "lost");
        assert.equal(await context.one.renew({ ...stale, fence: fresh.fence }, { payload: "x" }), "lost");
      });
    },
  },
  "lost-after-release": {
    title: "a released lease is lost, and stays free",
    async run({ one, name }) {
      const lease = name();
      const grant = await one.grant(lease);
      await one.release(grant);
      await untouched(one, lease, async () => {
        assert.equal(await one.renew(grant), "lost");
        assert.equal(await one.renew(grant, { payload: "late", payloadSeq: 1 }), "lost");
      });
    },
  },
  "lost-without-record": {
    title: "a lease without a record is lost, and none is made",
    async run({ one, name }) {
      const grant = { name: name(), grantId: freshGrantId(), fence: 1n };
      assert.equal(await one.renew(grant), "lost");
      assert.equal(await one.renew(grant, { payload: "p", payloadSeq: 1 }), "lost");
      assert.equal(await one.inspect(grant.name), null);
    },
  },
  "lost-after-deletion": {
    title: "a lease whose record was deleted by hand is lost",
    requires: ["deleteRecord"],
    async run({ one, name, opened }) {
      const grant = await one.grant(name());
      await opened.deleteRecord?.(grant.name);
      assert.equal(await one.renew(grant), "lost");
      assert.equal((await one.release(grant)).outcome, "lost");
    },
  },
  "grant-and-fence": {
    title: "both grant and fence must match: the wrong one of either is lost and extends nothing",
    async run({ one, name }) {
      const lease = name();
      const grant = await one.grant(lease);
      const wishes = { ttlMs: 2 * longTtlMs };
      await untouched(one, lease, async () => {
        assert.equal(await one.renew({ ...grant, grantId: freshGrantId() }, wishes), "lost");
        assert.equal(await one.renew({ ...grant, fence: grant.fence + 1n }, wishes), "lost");
        assert.equal(await one.renew({ ...grant, fence: grant.fence - 1n }, wishes), "lost");
      });
    },
  },
  "batch-of-1000": {
    title: "of a batch of 1,000 one is lost and all others renewed, each answered at its place",
    async run({ one: { backend }, name, info, timing }) {
      // A busy machine may need longer for so many than for one.
      const one = clientOf(backend, 6 * timing.callMs);
      const size = Math.min(1000, info.maxRenewBatch ?? 1000);
      const names = Array.from({ length: size }, () => name());
      const grants = await each(names, async (lease) => await one.grant(lease));
      const at = Math.floor(size / 3);
      const requests = grants.map((grant, i) => ({ ...grant, payload: undefined, ttlMs: 2 * ttlMs + i }));
      const [lost] = grants.slice(at);
      assert.ok(lost);
      await one.release(lost);
      const outcomes = await one.renewAll(requests);
      const odd = outcomes.flatMap((outcome, i) => (outcome === "renewed" ? [] : [{ i, outcome }]));
      assert.deepEqual(odd, [{ i: at, outcome: "lost" }]);
      for (const i of [0, at + 1, size - 1]) {
        const { remainingMs } = await one.see(names[i] ?? name());
        assert.ok(remainingMs > 1.5 * ttlMs, `request ${i} of the batch was extended`);
      }
    },
  },
  "batch-empty": {
    title: "an empty batch is answered with nothing",
    run: async ({ one }) => assert.deepEqual(await one.renewAll([]), []),
  },
  "batch-mixed": {
    title: "one batch with and without payloads, of live, wrong and missing leases, is answered in order",
    async run({ one, name }) {
      const [first, second, third] = [
        await one.grant(name()),
        await one.grant(name()),
        await one.grant(name()),
      ];
      const outcomes = await one.renewAll([
        { ...first, payload: "first", payloadSeq: 1, ttlMs },
        { ...second, payload: undefined, ttlMs },
        { ...second, grantId: freshGrantId(), payload: "wrong", payloadSeq: 1, ttlMs },
        { name: name(), grantId: freshGrantId(), fence: 1n, ttlMs },
        { ...third, payload: "third", payloadSeq: 1, ttlMs },
        { ...first, payload: undefined, fence: first.fence + 1n, ttlMs },
      ]);
      assert.deepEqual(outcomes, ["renewed", "renewed", "lost", "lost", "renewed", "lost"]);
      const payloads = await each(
        [first, second, third],
        async (grant) => (await one.see(grant.name)).payload,
      );
      assert.deepEqual(payloads, ["first", undefined, "third"]);
    },
  },
  "named-twice": {
    title: "one lease named twice in a batch is answered twice; the higher payloadSeq is what stays",
    async run({ one, name }) {
      const grant = await one.grant(name());
      const save = (payload: string, payloadSeq: number): RenewRequest => ({
        ...grant,
        payload,
        payloadSeq,
        ttlMs,
      });
      const plain: RenewRequest = { ...grant, payload: undefined, ttlMs };
      const wrong = { ...plain, grantId: freshGrantId() };
      assert.deepEqual(await one.renewAll([plain, wrong, plain]), ["renewed", "lost", "renewed"]);
      assert.deepEqual(await one.renewAll([save("b", 2), save("a", 1)]), ["renewed", "renewed"]);
      assert.equal((await one.see(grant.name)).payload, "b");
      assert.deepEqual(await one.renewAll([plain, save("c", 3), plain, save("d", 4)]), [
        "renewed",
        "renewed",
        "renewed",
        "renewed",
      ]);
      assert.equal((await one.see(grant.name)).payload, "d");
    },
  },
  "locked-is-unknown": {
    title: "a record locked by a transaction is unknown at once, delays no other, and is not lost",
    requires: ["lockRecord"],
    async run({ one, name, opened, timing }) {
      const locked = await one.grant(name());
      const others = await each([name(), name(), name()], async (lease) => await one.grant(lease));
      const requests = [others[0], locked, others[1], others[2]].flatMap((grant) =>
        grant === undefined ? [] : [{ ...grant, payload: undefined, ttlMs: 2 * ttlMs }],
      );
      const unlock = await opened.lockRecord?.(locked.name);
      try {
        const sentAt = performance.now();
        const outcomes = await one.renewAll(requests);
        const tookMs = performance.now() - sentAt;
        assert.deepEqual(outcomes, ["renewed", "unknown", "renewed", "renewed"]);
        assertWithin(tookMs, 0, timing.callMs / 2, "milliseconds until the answer");
        const withPayload = await one.renew(locked, { payload: "p", payloadSeq: 1 }).catch(() => "unknown");
        assert.equal(withPayload, "unknown");
      } finally {
        await unlock?.();
      }
      assert.equal(await one.renew(locked), "renewed");
    },
  },
  "payload-kept-or-replaced": {
    title: "a renewal with payload replaces it under its payloadSeq, one without keeps it",
    async run({ one, name }) {
      const lease = name();
      const grant = await one.grant(lease, { payload: "first" });
      const stands = async (payload: string, payloadSeq: number): Promise<void> => {
        const record = await one.see(lease);
        assert.deepEqual([record.payload, record.payloadSeq], [payload, payloadSeq]);
      };
      assert.equal(await one.renew(grant), "renewed");
      await stands("first", 0);
      assert.equal(await one.renew(grant, { payload: "second", payloadSeq: 1 }), "renewed");
      await stands("second", 1);
      assert.equal(await one.renew(grant), "renewed");
      await stands("second", 1);
      assert.equal(await one.renew(grant, { payload: "fifth", payloadSeq: 5 }), "renewed");
      await stands("fifth", 5);
    },
  },
  "payload-late": {
    title: "an older or equal payloadSeq that arrives late stores nothing, but still renews",
    async run({ one, name }) {
      const lease = name();
      const grant = await one.grant(lease, { payload: "first" });
      await one.renew(grant, { payload: "third", payloadSeq: 3 });
      for (const payloadSeq of [2, 3]) {
        const wishes = { payload: "late", payloadSeq, ttlMs: (payloadSeq + 1) * longTtlMs };
        assert.equal(await one.renew(grant, wishes), "renewed");
        const record = await one.see(lease);
        assert.deepEqual([record.payload, record.payloadSeq], ["third", 3]);
        assert.ok(record.remainingMs > payloadSeq * longTtlMs, "the expiry is extended all the same");
      }
    },
  },
});
