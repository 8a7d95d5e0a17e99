import assert from "node:assert/strict";
import type { Name, Subscription } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { freshGrantId } from "../client.ts";
import type { Client } from "../client.ts";
import type { Context } from "../context.ts";
import { each } from "../records.ts";

interface Ear extends Subscription {
  /** How often it was woken. */
  readonly heard: number;
}

async function listen(client: Client, name: Name): Promise<Ear> {
  let heard = 0;
  const subscription = await client.backend.watch?.(name, () => (heard += 1), client.options());
  assert.ok(subscription, "both clients have watch");
  return {
    get heard() {
      return heard;
    },
    get live() {
      return subscription.live;
    },
    close: () => subscription.close(),
  };
}

async function woken(context: Context, ear: Ear, since = 0, turns = 1): Promise<void> {
  const limitMs = context.declared.wakeMs * turns;
  await context.until("a waiter is woken", async () => ear.heard > since, limitMs);
}

/** Waits as core does: subscribed before it tries, and trying again whenever it is woken. */
async function takeTurn(context: Context, client: Client, name: Name): Promise<void> {
  const ear = await listen(client, name);
  const grantId = freshGrantId();
  let seen = ear.heard;
  let result = await context.resolve(() => client.acquire(name, { grantId }));
  while (result.outcome !== "granted") {
    // Others have their turn before.
    await woken(context, ear, seen, 5);
    seen = ear.heard;
    result = await context.resolve(() => client.acquire(name, { grantId }));
  }
  await ear.close();
  await client.release({ name, grantId, fence: result.fence });
}

export const waking: readonly Case[] = casesOf("waking", {
  "by-release": {
    title: "a release by another client, and by the same one, wakes a waiter",
    requires: ["watch"],
    async run(context) {
      const { one } = context;
      for (const releaser of [await context.two(), one]) {
        const name = context.name();
        const grant = await releaser.grant(name);
        const ear = await listen(one, name);
        assert.equal(ear.live, true, "watch resolves once wake-ups are delivered");
        await one.refuse(name, "held");
        await releaser.release(grant);
        await woken(context, ear);
        await ear.close();
      }
    },
  },
  "by-sealed-release": {
    title: "a sealed release wakes a waiter, who may read the outcome",
    requires: ["watch"],
    async run(context) {
      const name = context.name();
      const other = await context.two();
      const grant = await other.grant(name, { sealed: true });
      const ear = await listen(context.one, name);
      await context.one.refuse(name, "held");
      await other.release(grant, { sealed: true, payload: "outcome" });
      await woken(context, ear);
      await ear.close();
    },
  },
  "by-overrule": {
    title: "an overrule that frees the name wakes a waiter",
    requires: ["watch"],
    async run(context) {
      for (const wishes of [{ now: true }, { sealed: true }]) {
        const name = context.name();
        const other = await context.two();
        await other.grant(name);
        const ear = await listen(context.one, name);
        await context.one.refuse(name, "held");
        await other.depose(name, wishes);
        await woken(context, ear);
        await ear.close();
      }
    },
  },
  "own-name-only": {
    title: "a waiter is woken by its own name, and only by that",
    requires: ["watch"],
    async run(context) {
      const { one, timing } = context;
      const [name, another] = [context.name(), context.name()];
      const other = await context.two();
      const [grant, second] = [await other.grant(name), await other.grant(another)];
      const [ear, anotherEar] = [await listen(one, name), await listen(one, another)];
      await one.refuse(name, "held");
      await one.refuse(another, "held");
      await other.release(grant);
      await woken(context, ear);
      await context.pass(timing.slackMs);
      assert.equal(anotherEar.heard, 0, "the other name was not released");
      await other.release(second);
      await woken(context, anotherEar);
      await Promise.all([ear.close(), anotherEar.close()]);
    },
  },
  "no-lost-release": {
    title: "who subscribes and then tries loses no release, however the two race",
    requires: ["watch"],
    async run(context) {
      const { one } = context;
      const other = await context.two();
      await each(Array.from({ length: 24 }), async (_, i) => {
        const name = context.name();
        const grant = await other.grant(name);
        let released: Promise<unknown> | undefined;
        // The release is sent before the subscription, with the attempt, or after its refusal.
        const at = (moment: number): void => {
          if (i % 4 === moment) released = other.release(grant);
        };
        at(0);
        const ear = await listen(one, name);
        at(1);
        const attempt = one.acquire(name);
        at(2);
        const { outcome } = await attempt;
        at(3);
        await released;
        if (outcome === "refused") await woken(context, ear);
        await ear.close();
      });
    },
  },
  "as-declared": {
    title: "one release wakes at least one waiter and no more than declared",
    requires: ["watch"],
    async run(context) {
      const name = context.name();
      const clients = [context.one, await context.two()];
      const grant = await context.one.grant(name);
      const ears = await each(Array.from({ length: 10 }), async (_, i) => {
        const client = clients[i % 2] ?? context.one;
        const ear = await listen(client, name);
        await client.refuse(name, "held");
        return ear;
      });
      await context.one.release(grant);
      const count = (): number => ears.filter((ear) => ear.heard > 0).length;
      await context.until("a waiter is woken", async () => count() > 0, context.declared.wakeMs);
      await context.pass(context.timing.slackMs);
      const most = context.declared.wokenPerRelease;
      assert.ok(count() <= most, `one release wakes ${most} at the most, not ${count()}`);
      for (const ear of ears) await ear.close();
    },
  },
  "everyone-gets-a-turn": {
    title: "of 20 waiters on two connections each gets its turn by wake-ups alone",
    requires: ["watch"],
    async run(context) {
      const name = context.name();
      const clients = [context.one, await context.two()];
      const grant = await context.one.grant(name);
      const turns = Array.from({ length: 20 }, (_, i) =>
        takeTurn(context, clients[i % 2] ?? context.one, name),
      );
      await context.until(
        "a refused waiter",
        async () => (await context.one.acquire(name)).outcome === "refused",
      );
      await context.one.release(grant);
      await Promise.all(turns);
    },
  },
  "closed-is-silent": {
    title: "a closed subscription is not woken any more; closing it twice does no harm",
    requires: ["watch"],
    async run(context) {
      const name = context.name();
      const other = await context.two();
      const [closed, open] = [await listen(context.one, name), await listen(context.one, name)];
      const grant = await other.grant(name);
      await context.one.refuse(name, "held");
      await closed.close();
      await closed.close();
      const { heard } = closed;
      await other.release(grant);
      await woken(context, open);
      await context.pass(context.timing.slackMs);
      assert.equal(closed.heard, heard);
      await open.close();
    },
  },
  "killed-listener": {
    title: "a listener whose connections are killed says so at once, and loses no release",
    requires: ["watch", "killConnections"],
    async run(context) {
      const { one, opened } = context;
      const name = context.name();
      const other = await context.two();
      const grant = await other.grant(name);
      const ear = await listen(one, name);
      await one.refuse(name, "held");
      await opened.killConnections?.();
      await other.release(grant);
      // Down and polled by core, or woken by going down, by coming back, or by the release itself.
      const heard = async (): Promise<boolean> => !ear.live || ear.heard > 0;
      await context.until("it is woken or not live", heard, context.declared.wakeMs);
      await ear.close();
    },
  },
  "wakes-after-reconnect": {
    title: "a subscription comes back after its connections were killed, and wakes again",
    requires: ["watch", "killConnections"],
    async run(context) {
      const { one, opened } = context;
      const name = context.name();
      const other = await context.two();
      const grant = await other.grant(name);
      const ear = await listen(one, name);
      await opened.killConnections?.();
      await context.until("it heard of it", async () => !ear.live || ear.heard > 0);
      await context.until("the subscription is live again", async () => ear.live);
      await context.resolve(() => one.refuse(name, "held"));
      const { heard } = ear;
      await other.release(grant);
      await woken(context, ear, heard);
      await ear.close();
    },
  },
});
