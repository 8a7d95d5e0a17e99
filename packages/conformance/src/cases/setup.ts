import assert from "node:assert/strict";
import type { Backend, CallOptions } from "@coord/core";
import { isCoordError } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { clientOf } from "../client.ts";
import { assertWithin, untouched } from "../records.ts";

async function setUp20Times(backend: Backend, options: () => CallOptions): Promise<void> {
  await Promise.all(Array.from({ length: 20 }, async () => await backend.setup(options())));
}

export const setup: readonly Case[] = casesOf("setup", {
  idempotent: {
    title: "setup on a store in use, 20 at once, changes nothing",
    alone: true,
    async run({ one, two, name }) {
      const lease = name();
      const grant = await one.grant(lease, { payload: "p" });
      await untouched(one, lease, () => setUp20Times(one.backend, one.options));
      await setUp20Times((await two()).backend, one.options);
      assert.equal(await one.renew(grant), "renewed");
    },
  },
  "twenty-at-once": {
    title: "on a store that was never set up, 20 setups at once do no harm",
    requires: ["bare"],
    alone: true,
    async run({ opened, one, name, timing }) {
      const backend = await opened.bare?.();
      assert.ok(backend);
      await setUp20Times(backend, one.options);
      const client = clientOf(backend, timing.callMs);
      await client.release(await client.grant(name()));
    },
  },
  "not-set-up": {
    title: "a store that was never set up says COORD_NOT_SET_UP, or just works",
    requires: ["bare"],
    alone: true,
    async run({ opened, name, timing }) {
      const backend = await opened.bare?.();
      assert.ok(backend);
      const client = clientOf(backend, timing.callMs);
      for (const call of [() => client.acquire(name()), () => client.inspect(name())]) {
        await call().catch((error: unknown) => {
          if (!isCoordError(error, "COORD_NOT_SET_UP")) throw error;
          assert.match(error.message, /setup/i, "the message says what to run");
        });
      }
    },
  },
  "least-privilege": {
    title: "after setup the least privilege is enough for all operations",
    requires: ["unprivileged"],
    async run({ opened, name, timing }) {
      const backend = await opened.unprivileged?.();
      assert.ok(backend);
      const client = clientOf(backend, timing.callMs);
      const lease = name();
      const grant = await client.grant(lease, { payload: "p" });
      assert.equal(await client.renew(grant), "renewed");
      assert.equal(await client.renew(grant, { payload: "q", payloadSeq: 1 }), "renewed");
      assert.equal((await client.release(grant)).outcome, "released");
      await client.depose(lease);
      assert.ok((await client.list({ namespace: lease.namespace, prefix: "" })).length > 0);
      await client.prune();
      const { findings } = await client.diagnose();
      assert.deepEqual(
        findings.filter(({ level }) => level === "error"),
        [],
      );
    },
  },
  misconfigured: {
    title: "a store that can't be trusted is refused by setup or reported by diagnose, with the remedy",
    requires: ["misconfigured"],
    alone: true,
    async run({ opened, one: { options } }) {
      const all = (await opened.misconfigured?.()) ?? [];
      try {
        for (const { title, backend } of all) {
          const refusal = await backend.setup(options()).then(
            () => undefined,
            (error: unknown) => (error instanceof Error ? error : new Error("not an error")),
          );
          if (refusal !== undefined) {
            assert.ok(isCoordError(refusal, "COORD_CONFIGURATION"), `${title}: got ${refusal.message}`);
            continue;
          }
          const { findings } = await backend.diagnose(options());
          const bad = findings.filter(({ level, remedy }) => level === "error" && remedy);
          assert.ok(bad.length > 0, `${title}: diagnose finds an error with its remedy`);
        }
      } finally {
        for (const broken of all) await broken.close();
      }
    },
  },
  diagnosis: {
    title: "diagnose finds no error on a good store, says what to do about each warning, and reads its clock",
    async run(context) {
      const { one, timing } = context;
      const askedMs = context.elapsedMs();
      const first = await one.diagnose();
      const answeredMs = context.elapsedMs();
      for (const { level, message, remedy } of first.findings) {
        assert.notEqual(level, "error", message);
        assert.ok(message.length > 0, "a finding says what was found");
        if (level !== "ok") assert.ok(remedy, `"${message}" comes with a remedy`);
      }
      const { beforeMs, afterMs, storeMs } = first.clock;
      assert.ok(beforeMs <= afterMs, "the host's clock is read before and after");
      await context.pass(4 * timing.slackMs);
      const leastMs = context.elapsedMs() - answeredMs;
      const second = await one.diagnose();
      const mostMs = context.elapsedMs() - askedMs;
      assertWithin(
        second.clock.storeMs - storeMs,
        leastMs - 2 * timing.slackMs,
        mostMs + 2 * timing.slackMs,
        "milliseconds that passed by the store's clock",
      );
    },
  },
  info: {
    title: "info names the backend, and each number in it is within the contract",
    async run({ info, one }) {
      assert.match(info.name, /\S/);
      for (const key of [
        "minTtlMs",
        "granularityMs",
        "maxPayloadBytes",
        "maxRenewBatch",
        "pollMs",
      ] as const) {
        const value = info[key];
        if (value !== undefined) assert.ok(Number.isInteger(value) && value > 0, `${key} is ${value}`);
      }
      assert.ok((info.maxPayloadBytes ?? Infinity) >= 256 * 1024, "256 KiB of payload at the least");
      assert.equal(one.backend.info, info, "info does not change");
    },
  },
  "close-closes-its-own": {
    title: "close may be called twice and ends no other backend's connections",
    async run({ one, two, name }) {
      const other = await two();
      const grant = await other.grant(name());
      await other.backend.close();
      await other.backend.close();
      assert.equal(await one.renew(grant), "renewed");
    },
  },
});
