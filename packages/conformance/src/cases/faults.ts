import assert from "node:assert/strict";
import type { Name } from "@coord/core";
import { isCoordError } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { freshGrantId, longTtlMs } from "../client.ts";
import type { Client } from "../client.ts";
import type { Context } from "../context.ts";
import { assertUnknown, assertWithin, each, untouched } from "../records.ts";

/** A call whose reply is lost: unknown, or answered by a repeat that the backend made harmless. */
async function swallowed<T>(context: Context, call: () => Promise<T>): Promise<T | "unknown"> {
  await context.opened.swallowNextReply?.();
  return await call().catch((error: unknown) => {
    if (isCoordError(error, "COORD_UNAVAILABLE")) return "unknown" as const;
    throw error;
  });
}

/** Every call there is, each with what it is called. */
function everyCall(client: Client, name: Name): readonly (readonly [string, () => Promise<unknown>])[] {
  const grant = { name, grantId: freshGrantId(), fence: 1n };
  return [
    ["acquire", () => client.acquire(name)],
    ["renew", () => client.renewAll([{ ...grant, ttlMs: longTtlMs }])],
    ["release", () => client.release(grant)],
    ["overrule", () => client.overrule(name, { fence: 1n, released: false })],
    ["inspect", () => client.inspect(name)],
    ["list", () => client.list({ namespace: name.namespace, prefix: name.key })],
  ];
}

/** With the store out of reach every call is unknown within its limit, and works again after. */
async function assertDown(context: Context, down: () => Promise<(() => Promise<void>) | undefined>) {
  const { one, timing } = context;
  const [held, free] = [context.name(), context.name()];
  const grant = await one.grant(held);
  const heal = await down();
  try {
    const calls = [...everyCall(one, held), ...everyCall(one, free)];
    await Promise.all(
      calls.map(async ([what, call]) => {
        const sentAt = performance.now();
        await assertUnknown(call, `${what} while the store is out of reach`);
        const tookMs = performance.now() - sentAt;
        assertWithin(tookMs, 0, timing.callMs + timing.slackMs + 1000, `milliseconds of ${what}`);
      }),
    );
  } finally {
    await heal?.();
  }
  const outcome = await context.until("it works again", async () => {
    const answer = await context.resolve(() => one.renew(grant));
    return answer !== "unknown" && answer;
  });
  assert.equal(outcome, "renewed");
}

export const faults: readonly Case[] = casesOf("faults", {
  "acquire-swallowed": {
    title: "an acquire whose reply is lost holds the name, and its repeat is granted the same fence",
    requires: ["swallowNextReply"],
    async run(context) {
      const name = context.name();
      const grantId = freshGrantId();
      const acquire = () => context.one.acquire(name, { grantId, payload: "p" });
      const first = await swallowed(context, acquire);
      const record = await (await context.two()).see(name);
      assert.deepEqual([record.grantId, record.state], [grantId, "held"], "the step was done");
      await (await context.two()).refuse(name, "held");
      for (const result of [first, await context.resolve(acquire)]) {
        if (result === "unknown") continue;
        assert.equal(result.outcome, "granted");
        assert.deepEqual([result.fence, result.payload], [record.fence, "p"]);
      }
    },
  },
  "acquire-swallowed-lapsed": {
    title: "an acquire whose reply is lost and which lapses meanwhile is spent when repeated",
    requires: ["swallowNextReply"],
    async run(context) {
      const name = context.name();
      const [grantId, { ttlMs }] = [freshGrantId(), context.timing];
      await swallowed(context, () => context.one.acquire(name, { grantId, ttlMs }));
      const other = await context.two();
      await context.pass(ttlMs);
      await context.until("it lapses", async () => (await other.see(name)).state === "lapsed");
      const refused = await context.resolve(() => context.one.refuse(name, "spent", { grantId, ttlMs }));
      assert.equal(refused.record?.grantId, grantId, "its fence is in the refusal");
    },
  },
  "hand-over-swallowed": {
    title: "a hand-over whose reply is lost is granted the same fence when repeated",
    requires: ["swallowNextReply"],
    async run(context) {
      const name = context.name();
      const from = await context.one.grant(name);
      const wishes = { grantId: freshGrantId(), from };
      const first = await swallowed(context, () => context.one.acquire(name, wishes));
      if (first !== "unknown") assert.equal(first.outcome, "granted", "an answer must be the true one");
      const { fence } = await (await context.two()).see(name);
      assert.equal((await context.resolve(() => context.one.grant(name, wishes))).fence, fence);
    },
  },
  "renew-swallowed": {
    title: "a renewal whose reply is lost is renewed when repeated, and its payload stored once",
    requires: ["swallowNextReply"],
    async run(context) {
      const { one } = context;
      const name = context.name();
      const grant = await one.grant(name);
      const save = { payload: "saved", payloadSeq: 1 };
      const first = await swallowed(context, () => one.renew(grant, save));
      assert.notEqual(first, "lost", "a lost reply is not a lost lease");
      assert.equal((await (await context.two()).see(name)).payload, "saved", "the step was done");
      const again = await context.until("an answer", async () => {
        const answer = await context.resolve(() => one.renew(grant, save));
        return answer !== "unknown" && answer;
      });
      assert.equal(again, "renewed");
      assert.equal((await one.see(name)).payloadSeq, 1);
    },
  },
  "release-swallowed": {
    title: "a release whose reply is lost stands, and its repeat is released with the record",
    requires: ["swallowNextReply"],
    async run(context) {
      const { one } = context;
      const name = context.name();
      const grant = await one.grant(name);
      const release = () => one.release(grant, { payload: "done", sealed: true });
      await swallowed(context, release);
      const other = await context.two();
      assert.equal((await other.see(name)).state, "free", "the step was done");
      await untouched(other, name, async () => {
        const again = await context.resolve(release);
        assert.equal(again.outcome, "released");
        assert.equal(again.record?.payload, "done");
      });
    },
  },
  "overrule-swallowed": {
    title: "an overrule whose reply is lost answers the same fence when repeated",
    requires: ["swallowNextReply"],
    async run(context) {
      const { one } = context;
      const name = context.name();
      const { fence } = await one.grant(name);
      const wishes = { grantId: freshGrantId(), fence, released: false, payload: "p", sealed: true };
      await swallowed(context, () => one.overrule(name, wishes));
      const record = await (await context.two()).see(name);
      assert.equal(record.grantId, wishes.grantId, "the step was done");
      assert.equal(await context.resolve(() => one.depose(name, wishes)), record.fence);
    },
  },
  "cut-off": {
    title: "cut off from the store every call is unknown within its limit, never free and never held",
    requires: ["cut"],
    run: async (context) => await assertDown(context, async () => await context.opened.cut?.()),
  },
  paused: {
    title: "with the server paused every call is unknown within its limit, never free and never held",
    requires: ["pause"],
    alone: true,
    run: async (context) => await assertDown(context, async () => await context.opened.pause?.()),
  },
  "restart-under-load": {
    title: "a restart under load breaks no exclusion and no client: fences rise, and work goes on",
    requires: ["restart"],
    alone: true,
    async run(context) {
      const clients = [context.one, await context.two()];
      const names = [context.name(), context.name(), context.name()];
      const granted = new Map<Name, bigint[]>(names.map((name) => [name, []]));
      const work = { stopped: false };
      const worker = async (client: Client, name: Name): Promise<void> => {
        const fences = granted.get(name) ?? [];
        while (!work.stopped) {
          const grantId = freshGrantId();
          const result = await context.resolve(() => client.acquire(name, { grantId }));
          if (result.outcome === "granted") {
            const { fence } = result;
            assert.ok(fence > (fences.at(-1) ?? 0n), "a grant's fence is above all before");
            fences.push(fence);
            let sent = 0;
            const released = await context.resolve(() => {
              sent += 1;
              return client.release({ name, grantId, fence });
            });
            // A repeat may find the next holder; a first answer may not.
            if (sent === 1) assert.equal(released.outcome, "released", "a lease held for long is not lost");
          }
          await context.pass(context.timing.pollMs);
        }
      };
      /** Waits until each name was granted a few times more. */
      const progress = async (): Promise<void> => {
        const goal = names.map((name) => (granted.get(name)?.length ?? 0) + 3);
        const there = (name: Name, i: number): boolean => (granted.get(name)?.length ?? 0) >= (goal[i] ?? 0);
        // Some servers take their time to come up, and some drivers to look again.
        await context.until("work goes on", async () => names.every(there), 60_000);
      };
      const load = clients.flatMap((client) => names.map(async (name) => await worker(client, name)));
      const script = async (): Promise<void> => {
        try {
          await progress();
          await context.opened.restart?.();
          await progress();
        } finally {
          work.stopped = true;
        }
      };
      await Promise.all([script(), ...load]);
      for (const client of clients) await context.resolve(() => client.grant(context.name()));
    },
  },
  "killed-session": {
    title: "killed connections end calls as unknown or answered, never crash, and are replaced",
    requires: ["killConnections"],
    async run(context) {
      const { one, opened } = context;
      const names = Array.from({ length: 30 }, () => context.name());
      const crashes: unknown[] = [];
      const note = (error: unknown): void => void crashes.push(error);
      process.on("uncaughtException", note);
      try {
        await Promise.all([
          each(names, async (name) => {
            const grantId = freshGrantId();
            await context.resolve(() => one.grant(name, { grantId }));
          }),
          opened.killConnections?.(),
        ]);
        await opened.killConnections?.();
        await context.resolve(() => one.grant(context.name()));
        await context.pass(context.timing.slackMs);
      } finally {
        process.off("uncaughtException", note);
      }
      assert.deepEqual(crashes, [], "no connection's error reaches the process");
    },
  },
  "single-connection": {
    title: "a backend with a single connection does not deadlock under forty calls at once",
    requires: ["singleConnection"],
    async run(context) {
      const backend = await context.opened.singleConnection?.();
      assert.ok(backend);
      const options = context.one.options;
      await each(Array.from({ length: 40 }), async (_, i) => {
        const name = context.name();
        const grantId = freshGrantId();
        const common = { name, grantId, sealed: false, retainMs: 60_000 };
        const request = { ...common, holder: "", ttlMs: longTtlMs };
        const result = await backend.acquire(request, options());
        assert.equal(result.outcome, "granted");
        if (i % 2) await backend.inspect(name, options());
        const { fence } = result;
        assert.deepEqual(await backend.renew([{ name, grantId, fence, ttlMs: longTtlMs }], options()), [
          "renewed",
        ]);
        const released = await backend.release({ ...common, fence }, options());
        assert.equal(released.outcome, "released");
      });
    },
  },
});
