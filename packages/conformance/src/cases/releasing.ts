import assert from "node:assert/strict";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { freshGrantId } from "../client.ts";
import { assertWithin, each, stored, untouched } from "../records.ts";

export const releasing: readonly Case[] = casesOf("releasing", {
  "frees-at-once": {
    title: "a release frees the name at once; grant, fence and holder stay in the record",
    async run({ one, two, name }) {
      const lease = name();
      const grant = await one.grant(lease, { holder: "me", payload: "p" });
      const result = await one.release(grant);
      assert.equal(result.outcome, "released");
      assert.equal(result.record, undefined, "only a repeated release carries the record");
      const record = await one.see(lease);
      const { state, remainingMs, expiresAt, holder, payload, sealed } = record;
      assert.deepEqual([record.grantId, record.fence], [grant.grantId, grant.fence]);
      assert.deepEqual([state, remainingMs, expiresAt], ["free", 0, 0]);
      assert.deepEqual([holder, payload, sealed], ["me", "p", false]);
      await (await two()).grant(lease);
    },
  },
  "stores-as-asked": {
    title: "a release stores payload, seal and retention as asked, without counting payloadSeq",
    async run({ one, name }) {
      const lease = name();
      const grant = await one.grant(lease, { payload: "first", retainMs: 60_000 });
      await one.renew(grant, { payload: "saved", payloadSeq: 4 });
      await one.release(grant, { payload: "outcome", sealed: true, retainMs: null });
      const { payload, payloadSeq, sealed, retainMs, purgeAt } = await one.see(lease);
      assert.deepEqual([payload, payloadSeq, sealed, retainMs, purgeAt], ["outcome", 4, true, null, null]);
    },
  },
  unseals: {
    title: "a release without seal unseals",
    async run({ one, name }) {
      const lease = name();
      await one.release(await one.grant(lease, { sealed: true }));
      await one.grant(lease);
    },
  },
  "first-stands": {
    title: "the first release stands: a second with another payload or seal writes nothing, and is shown it",
    async run({ one, two, name }) {
      const lease = name();
      const grant = await one.grant(lease);
      await one.release(grant, { payload: "first", sealed: true, retainMs: null });
      const other = await two();
      for (const fence of [grant.fence, null]) {
        await untouched(one, lease, async () => {
          const wishes = { payload: "second", sealed: false, retainMs: 1, fence };
          const again = await other.release(grant, wishes);
          assert.equal(again.outcome, "released");
          assert.ok(again.record, "a repeated release carries the stored record");
          assert.deepEqual(stored(again.record), stored(await one.see(lease)));
        });
      }
    },
  },
  "stale-holder": {
    title: "a holder whose lease was taken over, handed over or released to another is lost",
    async run(context) {
      const { one, name } = context;
      const [taken, released] = [context.name(), name()];
      const stale = await context.grantLapsed(taken);
      const other = await context.two();
      await other.grant(taken, { payload: "new" });
      const early = await one.grant(released);
      await one.release(early);
      await other.grant(released, { payload: "new" });
      for (const old of [stale, early]) {
        for (const fence of [old.fence, null]) {
          await untouched(one, old.name, async () => {
            const result = await one.release(old, { payload: "stale", sealed: true, fence });
            assert.equal(result.outcome, "lost");
          });
        }
      }
    },
  },
  "late-untouched": {
    title: "a lapsed, untouched record is still released, so that a late but true outcome is kept",
    async run(context) {
      const { one } = context;
      const name = context.name();
      const grant = await context.grantLapsed(name, { sealed: true });
      assert.equal((await one.release(grant, { payload: "late", sealed: true })).outcome, "released");
      const { state, payload } = await one.see(name);
      assert.deepEqual([state, payload], ["free", "late"]);
      await one.refuse(name, "sealed");
    },
  },
  "grant-and-fence": {
    title: "both grant and fence must match; without a record the answer is lost and none is made",
    async run({ one, name }) {
      const lease = name();
      const grant = await one.grant(lease);
      const wrong = [
        { ...grant, fence: grant.fence + 1n },
        { ...grant, fence: grant.fence - 1n },
        { ...grant, grantId: freshGrantId() },
      ];
      await untouched(one, lease, async () => {
        for (const other of wrong) {
          assert.equal((await one.release(other, { payload: "x" })).outcome, "lost");
        }
      });
      const missing = { ...grant, name: name() };
      assert.equal((await one.release(missing)).outcome, "lost");
      assert.equal(await one.inspect(missing.name), null);
      assert.equal((await one.release(grant)).outcome, "released");
    },
  },
  "fence-null": {
    title: "fence null releases whatever fence this grant got, and no other grant",
    async run({ one, name }) {
      const lease = name();
      const grant = await one.grant(lease);
      const other = { ...grant, grantId: freshGrantId() };
      await untouched(one, lease, async () => {
        assert.equal((await one.release(other, { fence: null })).outcome, "lost");
      });
      assert.equal((await one.release(grant, { fence: null })).outcome, "released");
      assert.equal((await one.see(lease)).state, "free");
      const missing = { ...grant, name: name() };
      assert.equal((await one.release(missing, { fence: null })).outcome, "lost");
    },
  },
  footprint: {
    title: "after many names were used, one record a name is left and the declared footprint",
    requires: ["footprint"],
    async run({ one, name, opened, declared }) {
      const count = 40;
      await each(Array.from({ length: count }), async () => {
        const grant = await one.grant(name(), { payload: "p" });
        await one.renew(grant, { payload: "q", payloadSeq: 1 });
        await one.release(grant, { payload: "r" });
      });
      const left = await opened.footprint?.();
      assertWithin(left ?? 0, count, count + declared.footprint, "what is left");
    },
  },
  "footprint-cleaned": {
    title: "after clean-up nothing is left beyond the declared footprint",
    requires: ["footprint", "prune"],
    alone: true,
    async run(context) {
      const { one, opened, declared, timing } = context;
      const names = Array.from({ length: 40 }, () => context.name());
      await each(names, async (name) => {
        await one.release(await one.grant(name, { payload: "p" }), { payload: "q", retainMs: 1 });
      });
      await context.pass(timing.slackMs + 2);
      await context.until("clean-up", async () => {
        await one.prune();
        return (await one.list({ namespace: opened.namespace, prefix: "" })).length === 0;
      });
      assertWithin((await opened.footprint?.()) ?? 0, 0, declared.footprint, "what is left");
    },
  },
});
