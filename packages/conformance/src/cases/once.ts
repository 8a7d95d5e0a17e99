import assert from "node:assert/strict";
import type { Backend, Coordinator, OnceOptions, Execution } from "@coord/core";
import { notDone, unwrap } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import type { Context } from "../context.ts";
import { coordinate, executionName, orphan } from "../coordinated.ts";

/** Counts its runs. */
function counted<T>(response: T): { readonly runs: number; readonly work: () => T } {
  let runs = 0;
  return {
    get runs() {
      return runs;
    },
    work() {
      runs += 1;
      return response;
    },
  };
}

const failing = (error: Error) => (): never => {
  throw error;
};

const saveProgress = (execution: Execution): Promise<void> => execution.save({ page: 3 });
const saysNotDone = (): { status: "not-done" } => ({ status: "not-done" });

const hasCode = (code: string) => (error: unknown) =>
  error instanceof Error && "code" in error && error.code === code;

async function statusOf(coord: Coordinator, key: string): Promise<string | undefined> {
  return (await coord.executions.get(key))?.status;
}

async function fenceOf(coord: Coordinator, key: string): Promise<bigint> {
  const info = await coord.executions.get(key);
  assert.ok(info, `${key} has a record`);
  return info.fence;
}

/** A call that a broken backend can't keep going for ever. */
const bounded = ({ timing }: Context): Pick<OnceOptions, "signal"> => ({
  signal: AbortSignal.timeout(4 * timing.callMs),
});

async function second(context: Context): Promise<Coordinator> {
  return coordinate(context, { backend: (await context.two()).backend });
}

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
  lapsed: {
    title: "an execution whose process died is uncertain, and never run again by itself",
    async run(context) {
      await orphan(context, "k");
      const coord = coordinate(context);
      const job = counted(1);
      for (let i = 0; i < 3; i += 1) {
        assert.equal((await coord.once("k", job.work)).status, "uncertain");
      }
      assert.equal(job.runs, 0);
    },
  },
  kept: {
    title: "what is uncertain outlives every clean-up until somebody resolves it",
    requires: ["prune", "passTime"],
    alone: true,
    async run(context) {
      const coord = coordinate(context);
      await orphan(context, "died");
      await assert.rejects(coord.once("threw", { retainMs: 3_600_000 }, failing(new Error("x"))));
      await context.pass(40 * 86_400_000);
      await context.one.prune();
      for (const key of ["died", "threw"]) assert.equal(await statusOf(coord, key), "uncertain");
    },
  },
  late: {
    title: "a function that ends after its claim lapsed is recorded, if nobody intervened",
    async run(context) {
      const { finish } = await orphan(context, "k");
      const coord = coordinate(context);
      assert.equal(await statusOf(coord, "k"), "uncertain");
      assert.deepEqual(await finish("late but true"), {
        status: "completed",
        key: "k",
        response: "late but true",
        replayed: false,
        fence: await fenceOf(coord, "k"),
        attempt: 1,
      });
      assert.equal(unwrap(await coord.once("k", () => "again")), "late but true");
    },
  },
  superseded: {
    title: "a function that ends after somebody resolved its execution is told so, and changes nothing",
    async run(context) {
      const { fence, finish } = await orphan(context, "k");
      const coord = coordinate(context);
      await coord.executions.resolve("k", { fence, by: "ann", as: "completed", response: "by hand" });
      await assert.rejects(finish("too late"), (error) => {
        assert.ok(hasCode("COORD_OUTCOME_SUPERSEDED")(error), String(error));
        return error instanceof Error && "response" in error && error.response === "too late";
      });
      assert.equal(unwrap(await coord.once("k", () => "again")), "by hand");
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
  rerun: {
    title:
      "an uncertain execution runs again for who chose so, under a new fence and the same idempotency key",
    async run(context) {
      const { execution, fence } = await orphan(context, "k");
      const coord = coordinate(context);
      const rerun = await coord.once(
        "k",
        { onUncertain: "rerun", ...bounded(context) },
        (_, { attempt, idempotencyKey }) => ({ attempt, idempotencyKey }),
      );
      const { idempotencyKey } = execution;
      assert.deepEqual(unwrap(rerun), { attempt: 2, idempotencyKey });
      assert.ok((await fenceOf(coord, "k")) > fence, "the fence is raised");
    },
  },
  probe: {
    title: "a probe is asked one ttl after the lapse; of two that answer differently one decides for both",
    async run(context) {
      await orphan(context, "k");
      let asked = 0;
      const call = (coord: Coordinator, response: string): Promise<string> =>
        coord
          .once(
            "k",
            {
              probe: async () => {
                asked += 1;
                await new Promise((resolve) => setTimeout(resolve, 50));
                return { status: "completed", response };
              },
              ...bounded(context),
            },
            () => "ran",
          )
          .then((result) => (result.status === "completed" ? result.response : result.status));
      const coords = [coordinate(context), await second(context)] as const;
      assert.equal(await call(coords[0], "too early"), "uncertain");
      assert.equal(asked, 0, "a function that was cut off may still be running");
      await context.pass(context.coreTtlMs + context.timing.slackMs);
      const [one, two] = await Promise.all([call(coords[0], "one"), call(coords[1], "two")]);
      assert.equal(one, two, "both got the same answer");
      assert.ok(["one", "two"].includes(one), one);
      assert.equal(await call(coords[0], "three"), one);
    },
  },
  "probe-not-done": {
    title: "an execution that a probe declares not done runs again, once",
    async run(context) {
      await orphan(context, "k");
      await context.pass(context.coreTtlMs + context.timing.slackMs);
      const job = counted("ran");
      const waitMs = 10 * context.timing.callMs;
      const calls = [coordinate(context), await second(context)].map((coord) =>
        coord.once("k", { probe: saysNotDone, waitMs, ...bounded(context) }, job.work),
      );
      assert.deepEqual((await Promise.all(calls)).map(unwrap), ["ran", "ran"]);
      assert.equal(job.runs, 1);
    },
  },
  resolve: {
    title: "of two operators who resolve by the same fence one wins, and the other is told",
    async run(context) {
      const { fence } = await orphan(context, "k");
      const decide = (coord: Coordinator, response: string): Promise<void> =>
        coord.executions.resolve("k", { fence, by: response, as: "completed", response });
      const coords = [coordinate(context), await second(context)] as const;
      const results = await Promise.allSettled([decide(coords[0], "ann"), decide(coords[1], "bob")]);
      const won = results.findIndex(({ status }) => status === "fulfilled");
      const lost = results.filter(({ status }) => status === "rejected");
      assert.equal(lost.length, 1, "one of two won");
      assert.ok(lost.every((each) => each.status === "rejected" && hasCode("COORD_MOVED")(each.reason)));
      assert.equal(unwrap(await coords[0].once("k", () => "ran")), ["ann", "bob"][won]);
    },
  },
  "resolve-late": {
    title: "an operator does not overrule a late finisher who was faster, though the fence is the same",
    async run(context) {
      const { fence, finish } = await orphan(context, "k");
      const { backend } = context.one;
      const coord = coordinate(context, {
        calls: {
          async overrule(request, options) {
            await finish("late but true");
            return await backend.overrule(request, options);
          },
        },
      });
      const resolved = coord.executions.resolve("k", { fence, by: "ann", as: "not-done" });
      await assert.rejects(resolved, hasCode("COORD_MOVED"));
      assert.equal(unwrap(await coord.once("k", () => "again")), "late but true");
    },
  },
  "resolve-running": {
    title: "a running execution declared not done lets nobody in before its holder's own deadline",
    async run(context) {
      const { coreTtlMs: ttlMs } = context;
      const one = coordinate(context);
      const two = await second(context);
      const job = counted("second");
      const running = one.once("k", { ttlMs }, async (_, execution) => {
        const { fence } = execution;
        await two.executions.resolve("k", { fence, by: "ann", as: "not-done" });
        assert.equal((await two.once("k", job.work)).status, "running");
        return "first";
      });
      await assert.rejects(running, hasCode("COORD_OUTCOME_SUPERSEDED"));
      await context.lapsed(executionName(context, "k"));
      assert.equal(unwrap(await two.once("k", job.work)), "second");
    },
  },
  "given-up": {
    title:
      "a claim whose caller gave up is refused when it reaches the store afterwards, and leaves no doubt",
    async run(context) {
      const { backend } = context.one;
      const stop = new AbortController();
      let arrive: (() => ReturnType<Backend["acquire"]>) | undefined;
      const calls: Partial<Backend> = {
        acquire(request) {
          arrive = () => backend.acquire(request, context.one.options());
          stop.abort(new Error("enough"));
          return new Promise(() => {});
        },
      };
      const job = counted(1);
      const called = coordinate(context, { calls }).once("k", { signal: stop.signal }, job.work);
      await assert.rejects(called, /enough/);
      const name = executionName(context, "k");
      await context.until("the claim is undone", () => context.one.inspect(name));
      assert.equal((await arrive?.())?.outcome, "refused", "the late claim");
      assert.notEqual(await statusOf(coordinate(context), "k"), "uncertain");
      assert.equal(unwrap(await coordinate(context).once("k", () => "ran")), "ran");
      assert.equal(job.runs, 0);
    },
  },
  "won-and-given-up": {
    title: "a claim that was granted after its caller gave up is given back, and leaves no doubt",
    async run(context) {
      const { backend } = context.one;
      const stop = new AbortController();
      const calls: Partial<Backend> = {
        async acquire(request, options) {
          await backend.acquire(request, options);
          stop.abort(new Error("enough"));
          return await new Promise(() => {});
        },
      };
      const job = counted(1);
      const called = coordinate(context, { calls }).once("k", { signal: stop.signal }, job.work);
      await assert.rejects(called, /enough/);
      const coord = coordinate(context);
      await context.until("it is given back", async () => (await statusOf(coord, "k")) === "not-done");
      assert.equal(unwrap(await coord.once("k", () => "ran")), "ran");
      assert.equal(job.runs, 0);
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
  close: {
    title: "a close never frees an execution that would not end",
    async run(context) {
      const coord = coordinate(context);
      const { coreTtlMs: ttlMs } = context;
      await new Promise<void>((begun, failed) => {
        const running = coord.once("k", { ttlMs }, async (): Promise<number> => {
          begun();
          return await new Promise(() => {});
        });
        running.catch(failed);
      });
      await context.during("the close", coord.close({ graceMs: 0 }), 2 * ttlMs);
      const job = counted(1);
      const other = coordinate(context);
      assert.notEqual((await other.once("k", job.work)).status, "completed");
      await context.lapsed(executionName(context, "k"));
      assert.equal((await other.once("k", job.work)).status, "uncertain");
      assert.equal(job.runs, 0);
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
