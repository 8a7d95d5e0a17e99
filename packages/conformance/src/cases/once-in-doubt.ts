import assert from "node:assert/strict";
import type { Backend, Coordinator } from "@coord/core";
import { unwrap } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { coordinate } from "../coordinated.ts";
import {
  bounded,
  counted,
  executionName,
  failing,
  fenceOf,
  hasCode,
  orphan,
  second,
  statusOf,
} from "../executions.ts";

const saysNotDone = (): { status: "not-done" } => ({ status: "not-done" });

export const onceInDoubt: readonly Case[] = casesOf("once", {
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
});
