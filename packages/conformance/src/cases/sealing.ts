import assert from "node:assert/strict";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { longTtlMs } from "../client.ts";
import type { Context } from "../context.ts";
import type { Name } from "@coord/core";
import { assertWithin, each, untouched } from "../records.ts";

const kibibyte = 1024;

/** Every plane (a character of each), what JSON and SQL escape, line ends, and an escaped NUL. */
const everything = [
  JSON.stringify({ nul: "\u0000", tab: "\t", quote: '"', back: "\\" }),
  "\u0001\u001f\u007f\u0080\u2028\u2029\ufeff\ufffe\uffff\r\n\n\r '\"`\\\\ %s $1 ? :name {{x}} é e\u0301 ",
  ...Array.from({ length: 17 }, (_, plane) => String.fromCodePoint(plane * 0x10000 + 0xfffd)),
  " trailing  ",
].join("");

const payloads: readonly string[] = [
  "",
  "x",
  "0",
  "null",
  " ",
  everything,
  "p".repeat(256 * kibibyte),
  "\u{1F600}".repeat(64 * kibibyte),
  JSON.stringify('\u0000\u001f\\"'.repeat(10 * kibibyte)),
];

/** Prunes after `ms` until the record is gone. */
async function goneAfter(context: Context, name: Name, ms: number): Promise<void> {
  await context.pass(ms);
  await context.until("clean-up", async () => {
    await context.one.prune();
    return (await context.one.inspect(name)) === null;
  });
}

/** Prunes after `ms`, and the record must still be there. */
async function keptAfter(context: Context, name: Name, ms: number): Promise<void> {
  await context.pass(ms);
  await untouched(context.one, name, () => context.one.prune());
}

export const sealing: readonly Case[] = casesOf("sealing-and-payload", {
  "sealed-refuses": {
    title: "a sealed record refuses every new grant after release, until it is unsealed",
    async run({ one, two, name }) {
      const lease = name();
      const { fence } = await one.grant(lease, { sealed: true });
      await one.release({ ...(await one.see(lease)), name: lease }, { sealed: true, payload: "outcome" });
      const other = await two();
      for (const wishes of [{}, { sealed: true }, { ifFence: fence }]) {
        const refused = await other.refuse(lease, "sealed", { ...wishes, withPayload: true });
        assert.equal(refused.record?.payload, "outcome");
        assert.equal(refused.record.state, "free");
        assert.equal(refused.remainingMs, 0);
      }
      await one.depose(lease);
      await other.grant(lease);
    },
  },
  "sealed-refuses-lapsed": {
    title: "a sealed record refuses every new grant after it lapsed",
    async run(context) {
      const name = context.name();
      await context.grantLapsed(name, { sealed: true });
      const refused = await context.one.refuse(name, "sealed");
      assert.equal(refused.record?.state, "lapsed");
    },
  },
  "payload-outlives": {
    title: "the payload outlives lapse and release, and the next grant is handed it",
    async run(context) {
      const { one } = context;
      const name = context.name();
      await context.grantLapsed(name, { payload: "checkpoint" });
      const second = await one.grant(name);
      assert.equal(second.payload, "checkpoint");
      await one.release(second);
      assert.equal((await one.grant(name)).payload, "checkpoint");
    },
  },
  "payload-verbatim": {
    title: "payloads of 0, 1 and 256 KiB, of every plane, with an escaped NUL, come back as they were",
    async run({ one, two, name }) {
      const other = await two();
      await each(payloads, async (payload) => {
        const lease = name();
        const grant = await one.grant(lease, { payload });
        assert.ok(grant.payload === payload, "the grant answers the payload that it stored");
        const back = async (): Promise<boolean> => (await other.see(lease)).payload === payload;
        assert.ok(await back(), `acquire stores ${JSON.stringify(payload.slice(0, 40))}`);
        await one.renew(grant, { payload: "other", payloadSeq: 1 });
        assert.equal(await one.renew(grant, { payload, payloadSeq: 2 }), "renewed");
        assert.ok(await back(), "renew stores the payload");
        await one.renew(grant, { payload: "other", payloadSeq: 3 });
        await one.release(grant, { payload });
        assert.ok(await back(), "release stores the payload");
        await one.depose(lease, { payload: "other" });
        await one.depose(lease, { payload });
        assert.ok(await back(), "overrule stores the payload");
        const next = await one.grant(lease);
        assert.ok(next.payload === payload, "the next grant is handed the payload");
      });
    },
  },
  "payload-largest": {
    title: "the largest payload that the backend declares is stored and read back",
    async run({ one, two, name, info }) {
      const lease = name();
      const payload = "m".repeat(info.maxPayloadBytes ?? 320 * kibibyte);
      await one.grant(lease, { payload });
      const read = await (await two()).see(lease);
      assert.ok(read.payload === payload, "the payload comes back in full");
    },
  },
  "heartbeat-keeps-payload": {
    title: "a heartbeat rewrites neither payload nor payloadSeq",
    async run({ one, name }) {
      const lease = name();
      const payload = "p".repeat(256 * kibibyte);
      const grant = await one.grant(lease, { payload });
      await one.renew(grant, { payload, payloadSeq: 2 });
      for (let i = 1; i < 4; i += 1) await one.renew(grant, { ttlMs: longTtlMs * (i + 1) });
      const record = await one.see(lease);
      assert.equal(record.payloadSeq, 2);
      assert.ok(record.payload === payload, "the payload is as it was saved");
    },
  },
  "purge-at": {
    title: "purgeAt is retainMs after the latest of release, expiry and fence, moved by each renewal",
    async run(context) {
      const { one, timing } = context;
      const { slackMs } = timing;
      const name = context.name();
      const retainMs = 70_000;
      const grant = await one.grant(name, { retainMs });
      for (const ttlMs of [longTtlMs, 2 * longTtlMs]) {
        await one.renew(grant, { ttlMs });
        const { purgeAt, expiresAt } = await one.see(name);
        assertWithin(
          purgeAt ?? 0,
          expiresAt + retainMs,
          expiresAt + retainMs + slackMs,
          "purgeAt while held",
        );
      }
      const { expiresAt, remainingMs } = await one.see(name);
      const beforeMs = expiresAt - remainingMs;
      await one.release(grant, { retainMs });
      const endMs = (await one.diagnose()).clock.storeMs;
      const { purgeAt } = await one.see(name);
      assertWithin(purgeAt ?? 0, beforeMs + retainMs, endMs + retainMs + slackMs, "purgeAt once released");
    },
  },
  "purged-on-time": {
    title: "a released record is purged at retainMs, and not before",
    requires: ["prune"],
    alone: true,
    async run(context) {
      const { one, timing } = context;
      const name = context.name();
      const grant = await one.grant(name, { sealed: true });
      await one.release(grant, { sealed: true, retainMs: 4 * timing.ttlMs });
      await keptAfter(context, name, timing.ttlMs);
      await goneAfter(context, name, 3 * timing.ttlMs + timing.slackMs);
    },
  },
  "purged-after-lapse": {
    title: "a lapsed record is purged retainMs after its expiry, and not before",
    requires: ["prune"],
    alone: true,
    async run(context) {
      const { timing } = context;
      const name = context.name();
      await context.grantLapsed(name, { retainMs: 4 * timing.ttlMs });
      await keptAfter(context, name, timing.ttlMs);
      await goneAfter(context, name, 3 * timing.ttlMs + timing.slackMs);
    },
  },
  "kept-while-held": {
    title: "a held record is never purged, also not when it was renewed past its first purge time",
    requires: ["prune"],
    alone: true,
    async run(context) {
      const { one, timing } = context;
      const name = context.name();
      const grant = await one.grant(name, { ttlMs: timing.ttlMs, retainMs: 1 });
      assert.equal(await one.renew(grant), "renewed");
      await keptAfter(context, name, timing.ttlMs + timing.slackMs + 2);
      assert.equal(await one.renew(grant), "renewed");
    },
  },
  "kept-while-sealed": {
    title: "a sealed record that nobody released is never purged, and its purgeAt is null",
    requires: ["prune"],
    alone: true,
    async run(context) {
      const name = context.name();
      await context.grantLapsed(name, { sealed: true, retainMs: 1, payload: "executing" });
      assert.equal((await context.one.see(name)).purgeAt, null);
      await keptAfter(context, name, context.timing.slackMs + 2);
    },
  },
  "kept-for-ever": {
    title: "with retainMs null a record is never purged, released or lapsed",
    requires: ["prune"],
    alone: true,
    async run(context) {
      const { one } = context;
      const [released, lapsed] = [context.name(), context.name()];
      await one.release(await one.grant(released), { retainMs: null });
      await context.grantLapsed(lapsed, { retainMs: null });
      for (const name of [released, lapsed]) {
        assert.equal((await one.see(name)).purgeAt, null);
        await keptAfter(context, name, context.timing.slackMs);
      }
    },
  },
  "purge-limit": {
    title: "prune deletes no more than its limit and answers how many it deleted",
    requires: ["prune"],
    alone: true,
    async run(context) {
      const { one, opened } = context;
      for (let i = 0; i < 100 && (await one.prune()) > 0; i += 1);
      const names = Array.from({ length: 7 }, () => context.name());
      await each(names, async (name) => await one.release(await one.grant(name), { retainMs: 1 }));
      await context.pass(context.timing.slackMs + 2);
      const left = async (): Promise<number> =>
        (await one.list({ namespace: opened.namespace, prefix: "" })).length;
      const deleted = await one.prune(5);
      const rest = await left();
      assert.ok(deleted <= 5 && rest >= 2, `prune of 5 at the most deleted ${deleted} and left ${rest}`);
      await context.until("clean-up", async () => {
        await one.prune(5);
        return (await left()) === 0;
      });
      assert.equal(await one.prune(5), 0, "nothing is left to delete");
    },
  },
  "outlives-restart": {
    title: "records, seals and payloads survive a restart of the server",
    requires: ["restart"],
    alone: true,
    async run(context) {
      const { one, opened } = context;
      const names = [context.name(), context.name()] as const;
      const grant = await one.grant(names[0], { payload: "held", sealed: true });
      await one.release(await one.grant(names[1]), { payload: "done", sealed: true });
      await untouched(one, names[1], async () => {
        await opened.restart?.();
        await context.resolve(() => one.inspect(names[1]));
      });
      assert.equal((await one.see(names[0])).payload, "held");
      await one.refuse(names[1], "sealed");
      assert.equal(await one.renew(grant), "renewed");
    },
  },
});
