import assert from "node:assert/strict";
import type { Backend, Execution } from "@coord/core";
import { notDone, unwrap } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { coordinate } from "../coordinated.ts";
import { bounded, counted, failing, hasCode, orphan, second, statusOf } from "../executions.ts";

const saveProgress = (execution: Execution): Promise<void> => execution.save({ page: 3 });

export const once: readonly Case[] = casesOf("once", {
  "round-trips": {
    title: "the first call of once takes two round trips, a replay one, and both give the same response",
    async run(context) {
      const { backend } = context.one;
      const sent: string[] = [];
      const calls: Partial<Backend> = {
        acquire: async (request, options) => (sent.push("acquire"), backend.acquire(request, options)),
        release: async (request, options) => (sent.push("release"), backend.release(request, options)),
        inspect: async (name, options) => (sent.push("inspect"), backend.inspect(name, options)),
        overrule: async (request, options) => (sent.push("overrule"), backend.overrule(request, options)),
      };
      const job = counted({ id: "ch_1", text: "é\u0000😀" });
      const first = await coordinate(context, { calls }).once("k", job.work);
      assert.deepEqual(sent, ["acquire", "release"]);
      const replay = await coordinate(context, { calls }).once("k", job.work);
      assert.deepEqual(sent, ["acquire", "release", "acquire"]);
      assert.deepEqual(replay, { ...first, replayed: true });
      assert.deepEqual(unwrap(replay), { id: "ch_1", text: "é\u0000😀" });
      assert.equal(job.runs, 1);
    },
  },
  "of-many": {
    title: "of 20 calls of one key at the same time on two connections one runs, and all get its response",
    async run(context) {
      const coords = [coordinate(context), await second(context)];
      const job = counted(7);
      const waitMs = 10 * context.timing.callMs;
      const slow = async (): Promise<number> => {
        await new Promise((resolve) => setTimeout(resolve, 50));
        return job.work();
      };
      const calls = Array.from({ length: 10 }, () => coords.map((each) => each.once("k", { waitMs }, slow)));
      const results = await Promise.all(calls.flat());
      assert.deepEqual(new Set(results.map(unwrap)), new Set([7]));
      assert.equal(job.runs, 1, "the function ran once");
      const own = results.filter((result) => result.status === "completed" && !result.replayed);
      assert.equal(own.length, 1, "one call ran it, the others replayed it");
    },
  },
  running: {
    title: "while it runs others are told so at once, and get the response when they wait",
    async run(context) {
      const one = coordinate(context, { holder: "first" });
      const two = await second(context);
      const job = counted(7);
      const response = await one.once("k", async () => {
        const told = await two.once("k", job.work);
        assert.equal(told.status, "running");
        assert.equal(told.holder, "first");
        return "done";
      });
      assert.equal(unwrap(response), "done");
      assert.equal(job.runs, 0);
    },
  },
  input: {
    title: "the same key with another input is refused, never answered with another input's response",
    async run(context) {
      const coord = coordinate(context);
      await coord.once("k", { input: { a: 1, b: 2 } }, () => "first");
      const same = await coord.once("k", { input: { b: 2, a: 1 } }, () => "again");
      assert.equal(unwrap(same), "first");
      const job = counted("other");
      const other = coord.once("k", { input: { a: 1, b: 3 } }, job.work);
      await assert.rejects(other, hasCode("COORD_ONCE_INPUT_DIFFERS"));
      assert.equal(job.runs, 0);
    },
  },
  throws: {
    title: "a function that throws leaves what onError says: uncertain, retryable, or a final failure",
    async run(context) {
      const coord = coordinate(context);
      const two = await second(context);
      const error = new Error("boom");
      await assert.rejects(coord.once("uncertain", failing(error)), error);
      assert.equal((await two.once("uncertain", () => 1)).status, "uncertain");
      await assert.rejects(coord.once("final", { onError: "final" }, failing(error)), error);
      await assert.rejects(
        two.once("final", () => 1),
        hasCode("COORD_RECORDED_FAILURE"),
      );
      await assert.rejects(coord.once("retry", { onError: "retryable" }, failing(error)), error);
      await assert.rejects(two.once("retry", bounded(context), failing(notDone(error))), error);
      assert.equal(unwrap(await coord.once("retry", bounded(context), (_, { attempt }) => attempt)), 3);
    },
  },
  progress: {
    title: "progress that was saved is found after the process died, and by the next attempt",
    async run(context) {
      const coord = coordinate(context);
      const { fence } = await orphan(context, "k", saveProgress);
      assert.deepEqual((await coord.executions.get("k"))?.progress, { page: 3 });
      await coord.executions.resolve("k", { fence, by: "ann", as: "not-done" });
      const resumed = await coord.once("k", bounded(context), (_, { progress }) => ({
        found: JSON.stringify(progress),
      }));
      assert.deepEqual(unwrap(resumed), { found: '{"page":3}' });
    },
  },
  "not-stored": {
    title: "a response that can't be stored is on the error, and the record says completed",
    async run(context) {
      const coord = coordinate(context);
      const large = "x".repeat(262_143);
      await assert.rejects(
        coord.once("k", () => large),
        hasCode("COORD_RESPONSE_NOT_STORED"),
      );
      assert.equal(await statusOf(coord, "k"), "completed");
      const job = counted(1);
      await assert.rejects(coord.once("k", job.work), hasCode("COORD_RESPONSE_NOT_STORED"));
      assert.equal(job.runs, 0);
    },
  },
  largest: {
    title: "a response of 256 KiB is kept to the last character",
    async run(context) {
      const coord = coordinate(context);
      const largest = "é".repeat(131_071);
      assert.equal(unwrap(await coord.once("k", () => largest)), largest);
      assert.equal(unwrap(await coord.once("k", () => "again")), largest);
    },
  },
  "reply-lost": {
    title: "a response whose recording was not answered is recorded once, and the caller gets it",
    requires: ["swallowNextReply"],
    async run(context) {
      const coord = coordinate(context);
      const { coreTtlMs: ttlMs } = context;
      const called = coord.once("k", { ttlMs }, async () => {
        await context.opened.swallowNextReply?.();
        return "recorded";
      });
      assert.equal(unwrap(await context.during("the response is recorded", called, 2 * ttlMs)), "recorded");
      assert.equal(unwrap(await coord.once("k", () => "again")), "recorded");
    },
  },
  "key-spaces": {
    title: "a lease and an execution of the same key know nothing of each other",
    async run(context) {
      const coord = coordinate(context);
      const result = await coord.withLease("k", () => coord.once("k", () => "ran"));
      assert.equal(unwrap(result), "ran");
      assert.equal((await coord.inspect("k"))?.checkpoint, undefined);
      assert.equal(unwrap(await coord.once("k", () => "again")), "ran");
      const keys = [];
      for await (const { key } of coord.executions.list()) keys.push(key);
      assert.deepEqual(keys, ["k"]);
    },
  },
  export: {
    title: "executions that are exported and imported elsewhere answer there as here, and are taken once",
    async run(context) {
      const coord = coordinate(context);
      const namespace = `${context.opened.namespace}_2`;
      const other = coordinate(context, { namespace });
      await coord.once("completed", { input: 1 }, () => ({ id: 1 }));
      await assert.rejects(coord.once("failed", { onError: "final" }, failing(new Error("x"))));
      await assert.rejects(coord.once("uncertain", failing(new Error("x"))));
      const lines = [];
      for await (const line of coord.executions.export()) lines.push(line);
      assert.deepEqual(await other.executions.import(lines), { imported: 3, skipped: [] });
      assert.deepEqual(await other.executions.import(lines), {
        imported: 0,
        skipped: ["completed", "failed", "uncertain"],
      });
      assert.deepEqual(unwrap(await other.once("completed", { input: 1 }, () => ({ id: 2 }))), { id: 1 });
      await assert.rejects(
        other.once("failed", () => 1),
        hasCode("COORD_RECORDED_FAILURE"),
      );
      assert.equal((await other.once("uncertain", () => 1)).status, "uncertain");
    },
  },
});
