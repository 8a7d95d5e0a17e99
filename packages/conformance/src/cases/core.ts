import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Lease } from "@coord/core";
import { isCoordError, LeaseLostError } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import type { Context } from "../context.ts";
import { byValue, pairOf } from "../coordinated.ts";

function aborted(context: Context, { signal }: Lease): Promise<boolean> {
  return context.untilElapsed(
    "the signal aborts",
    () => signal.aborted,
    context.coreTtlMs + context.timing.slackMs,
  );
}

async function held(lease: Lease | null): Promise<Lease> {
  assert.ok(lease, "the lease must be granted");
  return lease;
}

export const core: readonly Case[] = casesOf("core", {
  "with-lease-excludes": {
    title: "of 20 callbacks on two coordinators one runs at a time, all run, and fences rise",
    async run(context) {
      const { one, two } = await pairOf(context);
      let inside = 0;
      const fences: bigint[] = [];
      const work = async (lease: Lease): Promise<bigint> => {
        inside += 1;
        assert.equal(inside, 1, "one callback at a time");
        await sleep(1);
        fences.push(lease.fence);
        inside -= 1;
        return lease.fence;
      };
      const runs = Array.from({ length: 20 }, (_, i) => (i % 2 ? one : two).withLease("shared", work));
      const returned = await Promise.all(runs);
      assert.deepEqual(
        fences,
        returned.toSorted(byValue),
        "each grant has a higher fence than the one before",
      );
    },
  },
  "waiters-in-order": {
    title: "100 waiters of one process all get their turn, in the order in which they came",
    async run(context) {
      const { one, two } = await pairOf(context);
      const first = await two.acquire("line");
      const turns: number[] = [];
      const waits = Array.from({ length: 100 }, (_, i) =>
        one.withLease("line", { waitMs: Infinity }, () => void turns.push(i)),
      );
      await first.release();
      await Promise.all(waits);
      assert.deepEqual(turns, [...turns.keys()]);
    },
  },
  "renewal-keeps": {
    title: "50 leases are renewed over twice their ttl, and none is lost or taken over",
    async run(context) {
      const { one, two, ttlMs } = await pairOf(context);
      const keys = Array.from({ length: 50 }, (_, i) => `kept ${i}`);
      const leases = await Promise.all(keys.map(async (key) => await one.acquire(key)));
      for (let quarter = 0; quarter < 8; quarter += 1) {
        await context.elapse(ttlMs / 4);
        for (const lease of leases) lease.assertHeld();
        assert.equal(await two.tryAcquire(keys[0] ?? ""), null);
      }
      await Promise.all(leases.map(async (lease) => await lease.release()));
    },
  },
  "broken-lease-is-lost": {
    title: "a lease that an operator breaks aborts its signal with LeaseLostError, and its save is lost",
    async run(context) {
      const { one, two } = await pairOf(context);
      const lease = await one.acquire("broken");
      const { fence } = await two.breakLease("broken", { fence: lease.fence, by: "a test" });
      assert.ok(fence > lease.fence);
      await aborted(context, lease);
      assert.ok(lease.signal.reason instanceof LeaseLostError);
      assert.throws(() => lease.assertHeld(), LeaseLostError);
      await assert.rejects(lease.save({ late: true }), LeaseLostError);
    },
  },
  "aborted-acquire": {
    title: "an acquire that is aborted while it waits leaves nothing behind",
    async run(context) {
      const { one, two } = await pairOf(context);
      const first = await two.acquire("aborted");
      const controller = new AbortController();
      const waiting = one.acquire("aborted", { signal: controller.signal, waitMs: Infinity });
      await sleep(context.timing.pollMs);
      controller.abort(new Error("enough"));
      await assert.rejects(waiting, /enough/);
      await first.release();
      await (await held(await two.tryAcquire("aborted"))).release();
    },
  },
  "release-under-abort": {
    title: "release works under a signal that is aborted already, and frees the name at once",
    async run(context) {
      const { one, two } = await pairOf(context);
      const controller = new AbortController();
      const lease = await one.acquire("released", { signal: controller.signal });
      controller.abort();
      await lease.release();
      await lease.release();
      await (await held(await two.tryAcquire("released"))).release();
    },
  },
  "late-win": {
    title: "an acquire whose reply is lost ends as one lease, or is given back when it is given up",
    requires: ["swallowNextReply"],
    async run(context) {
      const { one, two, ttlMs } = await pairOf(context);
      await context.opened.swallowNextReply?.();
      const acquired = one.acquire("late", { ttlMs: 60_000, waitMs: 20 * ttlMs });
      const lease = await context.during("the lease is granted", acquired, 20 * ttlMs);
      assert.equal((await two.inspect("late"))?.fence, lease.fence, "the record is that of the lease");
      lease.assertHeld();
      await lease.release();
      await context.opened.swallowNextReply?.();
      const signal = AbortSignal.timeout(1);
      const given = await one.acquire("late", { ttlMs: 60_000, signal }).catch(() => null);
      await given?.release();
      // Given back at once, not left to lapse after a minute.
      await context.until("the name is free", async () => (await two.inspect("late"))?.state !== "held");
    },
  },
  checkpoint: {
    title: "what a holder saved is what the next one finds",
    async run(context) {
      const { one, two } = await pairOf(context);
      const checkpoint = { page: 7, text: "é \u{1F600} \u0000" };
      await one.withLease("saved", async (lease) => await lease.save(checkpoint));
      await two.withLease("saved", (lease) => assert.deepEqual(lease.checkpoint, checkpoint));
    },
  },
  "hand-over": {
    title: "a detached lease is adopted once, under a higher fence, by another process",
    async run(context) {
      const { one, two } = await pairOf(context);
      const lease = await one.acquire("handed", { ttlMs: 60_000 });
      const text = lease.detach();
      const adopted = await two.adopt(text);
      assert.ok(adopted.fence > lease.fence);
      await assert.rejects(one.adopt(text), (error) => isCoordError(error, "COORD_MOVED"));
      adopted.assertHeld();
      await adopted.release();
    },
  },
  "deadline-before-takeover": {
    title: "a holder that is cut off is told before anybody else is granted its lease",
    requires: ["cut"],
    async run(context) {
      const { one, two, ttlMs } = await pairOf(context);
      const lease = await one.acquire("cut");
      const heal = await context.opened.cut?.();
      try {
        const takeover = two.withLease("cut", (next) => {
          assert.equal(lease.signal.aborted, true, "the old holder is told before the takeover");
          assert.ok(next.fence > lease.fence);
        });
        await context.during("the takeover", takeover, 2 * ttlMs);
      } finally {
        await heal?.();
      }
    },
  },
  "deadline-while-paused": {
    title: "while the server is paused a holder's signal aborts at its own deadline",
    requires: ["pause"],
    alone: true,
    async run(context) {
      const { one, ttlMs } = await pairOf(context);
      const lease = await one.acquire("paused");
      const resume = await context.opened.pause?.();
      try {
        await context.untilAborted(lease.signal, ttlMs + context.timing.slackMs);
        assert.throws(() => lease.assertHeld(), LeaseLostError);
      } finally {
        await resume?.();
      }
    },
  },
  "holder-killed": {
    title: "the lease of a process that was killed is taken over when its ttl is over, not before",
    requires: ["spawnHolder"],
    async run(context) {
      const { two, ttlMs } = await pairOf(context);
      const holder = await context.opened.spawnHolder?.("killed", ttlMs);
      assert.ok(holder);
      try {
        assert.equal(await two.tryAcquire("killed"), null, "another process holds it");
      } finally {
        await holder.kill("SIGKILL");
      }
      const killedMs = context.elapsedMs();
      const leftMs = (await two.inspect("killed"))?.remainingMs ?? 0;
      const takeover = two
        .acquire("killed")
        .then((lease) => ({ lease, tookMs: context.elapsedMs() - killedMs }));
      const { lease, tookMs } = await context.during("the takeover", takeover, 2 * ttlMs);
      assert.ok(lease.fence > holder.fence);
      assert.ok(tookMs >= leftMs - context.timing.slackMs, "not before its ttl is over");
      await lease.release();
    },
  },
  "holder-stopped": {
    title:
      "a process that was stopped for longer than its ttl knows that its lease is lost, or is fenced off",
    requires: ["spawnHolder"],
    async run(context) {
      const { two, ttlMs } = await pairOf(context);
      const holder = await context.opened.spawnHolder?.("stopped", ttlMs);
      assert.ok(holder);
      try {
        assert.equal(await holder.write(), holder.fence, "it may write while it holds the lease");
        await holder.kill("SIGSTOP");
        const lease = await context.during("the takeover", two.acquire("stopped"), 2 * ttlMs);
        await holder.kill("SIGCONT");
        assert.ok(lease.fence > holder.fence, "the new holder has a higher fence");
        const late = await holder.write().catch(() => 0n);
        assert.ok(late < lease.fence, "a resource that has seen the new fence refuses the late write");
        await lease.release();
      } finally {
        await holder.kill("SIGKILL");
      }
    },
  },
});
