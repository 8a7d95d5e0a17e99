import assert from "node:assert/strict";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { freshGrantId, longTtlMs } from "../client.ts";
import { stored, untouched } from "../records.ts";

export const overruling: readonly Case[] = casesOf("overruling", {
  "raises-the-fence": {
    title: "an overrule raises the fence, puts its own grant id in, keeps holder, payload and payloadSeq",
    async run({ one, two, name }) {
      const lease = name();
      const grant = await one.grant(lease, { holder: "me", payload: "p" });
      await one.renew(grant, { payload: "saved", payloadSeq: 2 });
      const grantId = freshGrantId();
      const fence = await (await two()).depose(lease, { grantId, retainMs: 70_000 });
      assert.ok(fence > grant.fence, "the fence is raised");
      const record = await one.see(lease);
      const { holder, payload, payloadSeq, retainMs, sealed } = record;
      assert.deepEqual([record.fence, record.grantId], [fence, grantId]);
      assert.deepEqual([holder, payload, payloadSeq, retainMs, sealed], ["me", "saved", 2, 70_000, false]);
    },
  },
  "payload-replaced": {
    title: "an overrule with payload replaces it",
    async run({ one, name }) {
      const lease = name();
      await one.grant(lease, { payload: "p" });
      await one.depose(lease, { payload: "by operator", sealed: true });
      assert.equal((await one.see(lease)).payload, "by operator");
    },
  },
  "old-grant-lost": {
    title: "the old holder's renew, save and release are lost, also by its grant id alone",
    async run({ one, two, name }) {
      const lease = name();
      const grant = await one.grant(lease);
      const fence = await (await two()).depose(lease);
      await untouched(one, lease, async () => {
        assert.equal(await one.renew(grant), "lost");
        assert.equal(await one.renew(grant, { payload: "stale", payloadSeq: 7 }), "lost");
        assert.equal(await one.renew({ ...grant, fence }), "lost");
        assert.equal((await one.release(grant, { payload: "stale" })).outcome, "lost");
        assert.equal((await one.release(grant, { fence: null })).outcome, "lost");
        await one.refuse(lease, "held", { grantId: grant.grantId });
      });
    },
  },
  "waits-for-the-old-expiry": {
    title: "held and not sealed: nobody is granted before the old expiry, everybody may be after it",
    async run(context) {
      const { one } = context;
      const name = context.name();
      await one.grant(name, { ttlMs: 2 * context.timing.ttlMs });
      const before = await one.see(name);
      await one.depose(name);
      const after = await one.see(name);
      assert.deepEqual([after.state, after.expiresAt], ["held", before.expiresAt]);
      await one.refuse(name, "held");
      await context.lapsed(name);
      await one.grant(name);
    },
  },
  "now-frees": {
    title: "now frees a held record at once",
    async run({ one, two, name }) {
      const lease = name();
      await one.grant(lease);
      await one.depose(lease, { now: true });
      assert.equal((await one.see(lease)).state, "free");
      await (await two()).grant(lease);
    },
  },
  "seals-at-once": {
    title: "held and sealed: it is free at once, and refuses new grants",
    async run({ one, name }) {
      const lease = name();
      await one.grant(lease);
      await one.depose(lease, { sealed: true, payload: "resolved" });
      assert.equal((await one.see(lease)).state, "free");
      await one.refuse(lease, "sealed");
    },
  },
  "lapsed-is-freed": {
    title: "a lapsed record is free after an overrule",
    async run(context) {
      const name = context.name();
      await context.grantLapsed(name, { sealed: true });
      await context.one.depose(name);
      assert.equal((await context.one.see(name)).state, "free");
      await context.one.grant(name);
    },
  },
  unseals: {
    title: "an overrule unseals, and seals, a released record",
    async run({ one, name }) {
      const lease = name();
      await one.release(await one.grant(lease), { sealed: true });
      await one.depose(lease, { sealed: false });
      await one.release(await one.grant(lease));
      await one.depose(lease, { sealed: true });
      await one.refuse(lease, "sealed");
    },
  },
  "moved-by-fence": {
    title: "another fence than the one read is moved, with the record, and changes nothing",
    async run({ one, name }) {
      const lease = name();
      const { fence } = await one.grant(lease, { payload: "p" });
      for (const read of [fence + 1n, fence - 1n, 0n]) {
        await untouched(one, lease, async () => {
          const result = await one.overrule(lease, { fence: read, released: false, sealed: true, now: true });
          assert.equal(result.outcome, "moved");
          assert.ok(result.record, "moved carries the record");
          assert.deepEqual(stored(result.record), stored(await one.see(lease)));
        });
      }
    },
  },
  "moved-by-release": {
    title: "a record that was released since it was read is moved",
    async run({ one, name }) {
      const lease = name();
      const grant = await one.grant(lease);
      await one.release(grant, { payload: "done", sealed: true });
      await untouched(one, lease, async () => {
        const result = await one.overrule(lease, { fence: grant.fence, released: false, payload: "undone" });
        assert.equal(result.outcome, "moved");
        assert.equal(result.record?.payload, "done");
      });
      await one.depose(lease, { fence: grant.fence, released: true });
    },
  },
  "no-record": {
    title: "on no record fence 0n writes a free one, and another fence is moved with null",
    async run({ one, name }) {
      const lease = name();
      const moved = await one.overrule(lease, { fence: 1n, released: false });
      assert.deepEqual(moved, { outcome: "moved", record: null });
      assert.equal(await one.inspect(lease), null);
      const grantId = freshGrantId();
      const wishes = { fence: 0n, released: false, grantId, payload: "p", retainMs: 50_000 };
      const fence = await one.depose(lease, wishes);
      assert.ok(fence > 1n);
      const record = await one.see(lease);
      const { state, payload, payloadSeq, sealed, retainMs, expiresAt } = record;
      assert.deepEqual([record.fence, record.grantId], [fence, grantId]);
      assert.deepEqual(
        [state, payload, payloadSeq, sealed, retainMs, expiresAt],
        ["free", "p", 0, false, 50_000, 0],
      );
      await one.grant(lease, { ifFence: fence });
    },
  },
  repeated: {
    title: "a repeat of the same overrule finds its id, answers the same fence and changes nothing",
    async run({ one, two, name }) {
      const lease = name();
      const { fence } = await one.grant(lease);
      const wishes = { grantId: freshGrantId(), fence, released: false, sealed: true, payload: "p" };
      const first = await one.depose(lease, wishes);
      const other = await two();
      await untouched(one, lease, async () => {
        assert.equal(await other.depose(lease, { ...wishes, payload: "q", sealed: false }), first);
      });
    },
  },
  "one-of-two": {
    title: "of two overrules that read the same fence one wins",
    async run(context) {
      const clients = [context.one, await context.two()];
      for (let round = 0; round < 8; round += 1) {
        const name = context.name();
        const { fence } = await context.one.grant(name, { ttlMs: longTtlMs });
        const results = await Promise.all(
          clients.map((client) => {
            const wishes = { grantId: freshGrantId(), fence, released: false, now: round % 2 === 0 };
            return context.resolve(() => client.overrule(name, wishes));
          }),
        );
        const outcomes = results.map(({ outcome }) => outcome).toSorted();
        assert.deepEqual(outcomes, ["moved", "overruled"]);
      }
    },
  },
  "late-claim-refused": {
    title: "a late claim that asks for the fence before the overrule is moved",
    async run({ one, name }) {
      const lease = name();
      const claim = { grantId: freshGrantId(), ifFence: 0n, sealed: true };
      await one.depose(lease, { fence: 0n, released: false });
      await one.refuse(lease, "moved", claim);
    },
  },
});
