import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Name } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { freshGrantId, longTtlMs } from "../client.ts";
import type { Context } from "../context.ts";
import { assertWithin, stored, untouched } from "../records.ts";

/** Twenty contenders on two connections; each repeats while its outcome is unknown. */
async function race(context: Context, name: Name): Promise<void> {
  const clients = [context.one, await context.two()];
  const ids = Array.from({ length: 20 }, freshGrantId);
  const results = await Promise.all(
    ids.map((grantId, i) =>
      context.resolve(async () => await (clients[i % 2] ?? context.one).acquire(name, { grantId })),
    ),
  );
  const winners = ids.filter((_, i) => results[i]?.outcome === "granted");
  assert.equal(winners.length, 1, `one of 20 wins, not ${winners.length}`);
  const record = await context.one.see(name);
  assert.equal(record.grantId, winners[0], "the record is the winner's");
  for (const result of results) {
    if (result.outcome === "granted") assert.equal(result.fence, record.fence);
    else assert.equal(result.reason, "held");
  }
}

export const granting: readonly Case[] = casesOf("granting", {
  "one-winner-new": {
    title: "of 20 contenders for a new name one is granted and all others see it held",
    run: async (context) => await race(context, context.name()),
  },
  "one-winner-released": {
    title: "of 20 contenders for a released name one is granted",
    async run(context) {
      const name = context.name();
      await context.one.release(await context.one.grant(name));
      await race(context, name);
    },
  },
  "one-winner-lapsed": {
    title: "of 20 contenders for a lapsed name one is granted",
    async run(context) {
      const name = context.name();
      await context.grantLapsed(name);
      await race(context, name);
    },
  },
  "stored-as-asked": {
    title: "a grant stores holder, seal, payload and retention as asked, with payloadSeq 0",
    async run({ one, name }) {
      const lease = name();
      const holder = "hôst-1:4711 \u{1F600} 'label' ".padEnd(255, "x");
      const grant = await one.grant(lease, { holder, sealed: true, payload: "p", retainMs: 90_000 });
      assert.equal(grant.payload, "p", "the answer carries the payload now stored");
      const { expiresAt, purgeAt, ...rest } = stored(await one.see(lease));
      assert.equal(Number(purgeAt ?? 0), 0, "sealed and not released: never purged");
      assert.ok(Number(expiresAt) > 0);
      const { grantId, fence } = grant;
      const asked = { holder, sealed: true, payload: "p", payloadSeq: 0, retainMs: 90_000 };
      assert.deepEqual(rest, { ...lease, grantId, fence, ...asked });
    },
  },
  "payload-kept-or-replaced": {
    title: "a grant keeps the stored payload unless it brings one, and starts at payloadSeq 0",
    async run({ one, name }) {
      const lease = name();
      const first = await one.grant(lease, { payload: "first" });
      await one.renew(first, { payload: "saved", payloadSeq: 3 });
      await one.release(first);
      const second = await one.grant(lease);
      assert.equal(second.payload, "saved", "what the last holder saved is handed on");
      assert.equal((await one.see(lease)).payloadSeq, 0, "payloadSeq counts within a grant");
      await one.release(second);
      assert.equal((await one.grant(lease, { payload: "third" })).payload, "third");
      assert.equal((await one.see(lease)).payload, "third");
    },
  },
  "refused-carries-record": {
    title: "a refusal carries the record and remainingMs, the payload only when asked",
    async run({ one, two, name, timing }) {
      const lease = name();
      const grant = await one.grant(lease, { payload: "secret", ttlMs: longTtlMs });
      const other = await two();
      const bare = await other.refuse(lease, "held");
      const full = await other.refuse(lease, "held", { withPayload: true });
      assert.ok(bare.record, "the refusal carries the record");
      assert.ok(full.record, "the refusal carries the record");
      const record = stored(await one.see(lease));
      assert.deepEqual(stored(full.record), record);
      assert.deepEqual(stored(bare.record), { ...record, payload: undefined });
      assert.equal(bare.record.grantId, grant.grantId);
      assert.equal(bare.record.state, "held");
      assert.equal(bare.remainingMs, bare.record.remainingMs);
      assertWithin(bare.remainingMs, longTtlMs / 2, longTtlMs + timing.slackMs, "remainingMs");
    },
  },
  "refused-changes-nothing": {
    title: "a refused attempt changes nothing in the record, whatever the reason",
    async run({ one, two, name }) {
      const lease = name();
      const other = await two();
      const wishes = { payload: "x", holder: "x", sealed: true, retainMs: 1, ttlMs: 2 * longTtlMs };
      const grant = await one.grant(lease, { payload: "mine" });
      await untouched(one, lease, () => other.refuse(lease, "held", wishes));
      const from = { grantId: grant.grantId, fence: grant.fence + 1n };
      await untouched(one, lease, () => other.refuse(lease, "moved", { ...wishes, from }));
      await one.release(grant);
      await untouched(one, lease, () => other.refuse(lease, "spent", { ...wishes, grantId: grant.grantId }));
      await untouched(one, lease, () => other.refuse(lease, "moved", { ...wishes, ifFence: 1n }));
      await one.release(await one.grant(lease), { sealed: true });
      await untouched(one, lease, () => other.refuse(lease, "sealed", { ...wishes, sealed: false }));
      await other.refuse(name("none"), "moved", { ...wishes, ifFence: 1n });
      assert.equal(await one.inspect(name("none")), null, "a refused attempt makes no record");
    },
  },
  "granted-again": {
    title: "the same grant again: same fence, payload, seal and payloadSeq untouched",
    async run({ one, two, name }) {
      const lease = name();
      const grant = await one.grant(lease, { payload: "first", sealed: true });
      assert.equal(await one.renew(grant, { payload: "saved", payloadSeq: 2 }), "renewed");
      const other = await two();
      const again = await other.grant(lease, { grantId: grant.grantId, payload: "first", sealed: false });
      assert.equal(again.fence, grant.fence, "the fence of a grant never changes");
      assert.equal(again.payload, "saved", "a late duplicate does not undo a save");
      const { payload, payloadSeq, sealed } = await one.see(lease);
      assert.deepEqual({ payload, payloadSeq, sealed }, { payload: "saved", payloadSeq: 2, sealed: true });
    },
  },
  "granted-again-expiry": {
    title: "the same grant again extends the expiry and never shortens it",
    async run({ one, name, timing }) {
      const lease = name();
      const grant = await one.grant(lease, { ttlMs: longTtlMs });
      const { expiresAt } = await one.see(lease);
      await one.grant(lease, { grantId: grant.grantId, ttlMs: timing.ttlMs });
      assert.equal((await one.see(lease)).expiresAt, expiresAt, "never shortened");
      await one.grant(lease, { grantId: grant.grantId, ttlMs: 2 * longTtlMs });
      const after = (await one.see(lease)).expiresAt;
      assert.ok(after >= expiresAt + longTtlMs - 1, "extended from now");
      assert.equal(await one.renew(grant), "renewed", "it is still the grant it was");
    },
  },
  "spent-after-release": {
    title: "a grant id that was released is spent, whatever else would refuse",
    async run({ one, name }) {
      for (const sealed of [true, false]) {
        const lease = name();
        const { grantId, fence } = await one.grant(lease);
        await one.release({ name: lease, grantId, fence }, { sealed });
        await untouched(one, lease, async () => {
          await one.refuse(lease, "spent", { grantId });
          await one.refuse(lease, "spent", { grantId, ifFence: 1n });
          await one.refuse(lease, "spent", { grantId, ifFence: fence });
          await one.refuse(lease, "spent", { grantId, from: { grantId, fence } });
        });
      }
    },
  },
  "spent-after-lapse": {
    title: "a grant id that lapsed is spent: a late duplicate never revives it",
    async run(context) {
      const name = context.name();
      const { grantId } = await context.grantLapsed(name);
      await context.one.refuse(name, "spent", { grantId });
      assert.equal((await context.one.see(name)).state, "lapsed");
    },
  },
  "reasons-in-order": {
    title: "held is said before sealed, and sealed before moved",
    async run({ one, name }) {
      const lease = name();
      const grant = await one.grant(lease, { sealed: true });
      await one.refuse(lease, "held", { ifFence: 1n });
      await one.release(grant, { sealed: true });
      await one.refuse(lease, "sealed", { ifFence: 1n });
      await one.refuse(lease, "sealed", { ifFence: grant.fence });
      await one.refuse(lease, "moved", { from: grant });
    },
  },
  "if-fence": {
    title: "ifFence grants on that fence alone",
    async run({ one, name }) {
      const lease = name();
      const first = await one.grant(lease);
      await one.release(first);
      await one.refuse(lease, "moved", { ifFence: first.fence + 1n });
      await one.refuse(lease, "moved", { ifFence: first.fence - 1n });
      const second = await one.grant(lease, { ifFence: first.fence });
      await one.release(second);
      await one.refuse(lease, "moved", { ifFence: first.fence });
    },
  },
  "if-fence-zero": {
    title: "ifFence 0n grants only where there is no record; another fence refuses there, and writes none",
    async run({ one, name }) {
      const lease = name();
      const refused = await one.refuse(lease, "moved", { ifFence: 1n });
      assert.equal(refused.record, null);
      assert.equal(refused.remainingMs, 0);
      assert.equal(await one.inspect(lease), null, "a refused attempt writes nothing");
      await one.release(await one.grant(lease, { ifFence: 0n }));
      await one.refuse(lease, "moved", { ifFence: 0n });
    },
  },
  "hand-over": {
    title: "from hands a held lease over under a higher fence, payload kept, and ends the old grant",
    async run({ one, two, name }) {
      const lease = name();
      const old = await one.grant(lease, { payload: "kept", sealed: true });
      await one.renew(old, { payload: "saved", payloadSeq: 1 });
      const other = await two();
      const fresh = await other.grant(lease, { from: old });
      assert.ok(fresh.fence > old.fence, "a hand-over raises the fence");
      assert.equal(fresh.payload, "saved");
      const { payloadSeq, sealed } = await one.see(lease);
      assert.deepEqual({ payloadSeq, sealed }, { payloadSeq: 0, sealed: false });
      assert.equal(await one.renew(old), "lost");
      assert.equal((await one.release(old)).outcome, "lost");
      assert.equal(await other.renew(fresh), "renewed");
    },
  },
  "hand-over-once": {
    title: "a hand-over works once, and only from exactly that grant and fence while held",
    async run({ one, name }) {
      const lease = name();
      const old = await one.grant(lease);
      await one.refuse(lease, "moved", { from: { grantId: old.grantId, fence: old.fence - 1n } });
      await one.refuse(lease, "moved", { from: { grantId: freshGrantId(), fence: old.fence } });
      const fresh = await one.grant(lease, { from: old });
      await one.refuse(lease, "moved", { from: old });
      const repeat = await one.grant(lease, { grantId: fresh.grantId, from: old });
      assert.equal(repeat.fence, fresh.fence, "its own repeat is granted again");
      await one.release(fresh);
      await one.refuse(lease, "moved", { from: fresh });
      await one.refuse(name(), "moved", { from: fresh });
    },
  },
  "hand-over-lapsed": {
    title: "a lapsed lease is not handed over",
    async run(context) {
      const name = context.name();
      const old = await context.grantLapsed(name);
      await context.one.refuse(name, "moved", { from: old });
    },
  },
  "grant-ids-by-bytes": {
    title: "grant ids that differ in case are different grants, and one may serve two names",
    async run({ one, name }) {
      const [lease, another] = [name(), name()];
      const grantId = "AbCdEfGhIjKlMnOpQrStUv";
      const lower = grantId.toLowerCase();
      const grant = await one.grant(lease, { grantId });
      await one.refuse(lease, "held", { grantId: lower });
      assert.equal(await one.renew({ ...grant, grantId: lower }), "lost");
      assert.equal((await one.release({ ...grant, grantId: lower })).outcome, "lost");
      const second = await one.grant(another, { grantId });
      await one.release(second);
      assert.equal(await one.renew(grant), "renewed", "the other name is untouched");
    },
  },
  "full-ttl-after-wait": {
    title: "a lease that is granted after a long wait for a lock is valid for its full ttl",
    requires: ["lockRecord"],
    async run(context) {
      const { opened, one, timing, name } = context;
      const lease = name();
      await one.release(await one.grant(lease));
      const unlock = await opened.lockRecord?.(lease);
      const [grantId, ttlMs] = [freshGrantId(), longTtlMs];
      let answered = false;
      const waiting = context
        .resolve(() => one.acquire(lease, { grantId, ttlMs }))
        .finally(() => (answered = true));
      // Time that is waited for, as a clock that is put forward may be seen only by what is sent afterwards.
      await sleep(4 * timing.slackMs);
      assert.equal(answered, false, "it waits while the record is locked");
      const { storeMs } = (await one.diagnose()).clock;
      await unlock?.();
      assert.equal((await waiting).outcome, "granted");
      const leftMs = (await one.see(lease)).expiresAt - storeMs;
      assertWithin(
        leftMs,
        ttlMs - timing.slackMs,
        Infinity,
        "milliseconds from the end of the wait to the expiry",
      );
    },
  },
});
