/**
 * What goes wrong in consumers written the obvious way, one test each. The first lines of a test show the trap where
 * the bare command shows it. "Crashed between the commit and the acknowledgement" is in `session.test.ts`.
 */
import { whyMissing } from "@coord/test-fixtures";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCommands } from "../../src/commands.ts";
import { checkOptions } from "../../src/consumer/options.ts";
import { compileQueueScripts, type QueueScripts } from "../../src/consumer/scripts.ts";
import { createSteps, type Steps } from "../../src/consumer/steps.ts";
import { until } from "../server.ts";
import { aborted, gate, recorder, startQueues } from "./queue.ts";

const missing = await whyMissing("redis");

describe.skipIf(missing !== undefined)(
  `failures of naive consumers${missing ? `: ${missing}` : ""}`,
  { timeout: 60_000, concurrent: true },
  () => {
    let server: Awaited<ReturnType<typeof startQueues>>;
    beforeAll(async () => {
      server = await startQueues();
    }, 60_000);
    afterAll(() => server[Symbol.asyncDispose]());

    test("a late acknowledgement does not remove what another consumer has by now", async () => {
      await using queue = server.queue();
      const [id = ""] = await queue.fill(1);
      const consumer = queue.consumer();
      const message = await consumer.next();
      await server.admin.xclaim(queue.stream, queue.group, "other", 0, id);
      await expect(message?.ack()).rejects.toMatchObject({ code: "COORD_LEASE_LOST", reason: "claimed" });
      expect(await queue.pendingRows()).toMatchObject([[id, "other", expect.any(Number), 2]]);
      expect(await server.admin.xack(queue.stream, queue.group, id)).toBe(1); // the trap: nobody is asked
    });

    test("a refresh does not steal a message back, and the handler that lost it is told", async () => {
      await using queue = server.queue();
      const [id = ""] = await queue.fill(1);
      const told = gate();
      let reason: unknown;
      void queue.consumer().run(async ({ signal }) => {
        await server.admin.xclaim(queue.stream, queue.group, "other", 0, id);
        reason = await aborted(signal);
        told.open();
      });
      await told.opened;
      expect(reason).toMatchObject({ reason: "claimed", id, attempt: 1 });
      expect(await queue.pendingRows()).toMatchObject([[id, "other", expect.any(Number), 2]]);
      await server.admin.xclaim(queue.stream, queue.group, "naive", 0, id, "JUSTID"); // the trap: taken, as if asked to
      expect(await queue.pendingRows()).toMatchObject([[id, "naive", expect.any(Number), 2]]);
    });

    test("a message that fails blocks nobody while it waits for its next try", async () => {
      await using queue = server.queue();
      await queue.fill(51);
      const { seen, handle } = recorder<number>();
      void queue.consumer({ concurrency: 1, retry: () => 3_600_000 }).run((message) => {
        handle(message);
        if (message.body === 0) throw new TypeError("not now");
      });
      await until(async () => seen.length === 51 && (await queue.pending()) === 1);
      expect(seen[0]?.body).toBe(0);
    });

    test("a message that always fails ends in the dead letters with its fields", async () => {
      await using queue = server.queue();
      await queue.fill(1);
      const { seen, handle } = recorder<number>();
      void queue.consumer({ maxDeliveries: 3 }).run((message) => {
        handle(message);
        throw new TypeError("never");
      });
      await until(async () => (await queue.dead()).length === 1);
      expect(seen.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
      expect(await queue.dead()).toMatchObject([
        { _reason: "handler", _error: "TypeError: never", _count: "3", _group: queue.group, body: "0" },
      ]);
      expect(await queue.pending()).toBe(0);
    });

    /** Processes that die with all they have in hand whenever the first message is among it, one after another. */
    async function letItKill(
      steps: (consumer: string) => Steps,
      poison: string,
    ): Promise<{ handled: string[]; crashes: number }> {
      const handled: string[] = [];
      let crashes = 0;
      for (let run = 0; handled.length < 9 && run < 40; run++) {
        const own = steps(`process-${run}`);
        const { entries } = await own.claim("0-0", 10, 1);
        if (entries.some(({ id }) => id === poison)) crashes++;
        else {
          await own.ack(entries);
          handled.push(...entries.map(({ id }) => id));
        }
        await new Promise((resolve) => setTimeout(resolve, entries.length > 0 ? 320 : 50));
      }
      return { handled, crashes };
    }

    test("a message that kills its process takes no innocent ones along", async () => {
      async function casualties(scripts: QueueScripts): Promise<(string | undefined)[]> {
        await using queue = server.queue();
        const ids = await queue.fill(10);
        const [poison = ""] = ids;
        const { stream, group } = queue;
        await server.admin.xgroup("CREATE", stream, group, "0");
        const stepsOf = (consumer: string): Steps => {
          const settings = checkOptions({ url: server.url, stream, group, consumer, claimAfterMs: 300 });
          return createSteps(commands, settings, scripts);
        };
        const commands = createCommands(checkOptions({ url: server.url, stream, group }).source, 0);
        await server.admin.xreadgroup("GROUP", group, "first", "COUNT", 10, "STREAMS", stream, ">");
        await new Promise((resolve) => setTimeout(resolve, 320));
        const { crashes } = await letItKill(stepsOf, poison);
        expect(crashes).toBe(4); // and the first one
        commands.close();
        return (await queue.dead()).map(({ _id }) => (_id === poison ? "poison" : _id));
      }
      const careless = compileQueueScripts((text, name) =>
        name === "claim" ? text.replace("count >= riskyFrom and riskyLeft == 0", "false") : text,
      );
      const [careful, reckless] = await Promise.all([
        casualties(compileQueueScripts()),
        casualties(careless),
      ]);
      expect(careful).toEqual(["poison"]);
      expect(reckless.length).toBeGreaterThan(1);
    });

    test("what was trimmed while it was pending becomes one dead letter and is not looked at for ever", async () => {
      await using queue = server.queue();
      const ids = await queue.fill(4);
      await server.admin.xgroup("CREATE", queue.stream, queue.group, "0");
      await server.admin.xreadgroup("GROUP", queue.group, "dead", "COUNT", 3, "STREAMS", queue.stream, ">");
      await server.admin.xdel(queue.stream, ids[0] ?? "", ids[2] ?? "");
      const { seen, handle } = recorder<number>();
      void queue.consumer({ claimAfterMs: 300 }).run(handle);
      await until(() => seen.length === 2);
      await until(async () => (await queue.pending()) === 0);
      expect(seen.map(({ body }) => body).toSorted()).toEqual([1, 3]);
      expect((await queue.dead()).map(({ _id, _reason }) => [_id, _reason])).toEqual([
        [ids[0], "trimmed"],
        [ids[2], "trimmed"],
      ]);
    });

    test("what is trimmed under a handler is still handled to its end, and buried with its body when it fails", async () => {
      await using queue = server.queue();
      const ids = await queue.fill(2);
      const { seen, handle } = recorder<number>();
      void queue.consumer({ maxDeliveries: 2 }).run(async (message) => {
        handle(message);
        await server.admin.xdel(queue.stream, message.id);
        await new Promise((resolve) => setTimeout(resolve, 1000));
        if (message.body === 1) throw new Error("no");
        message.assertHeld();
      });
      await until(async () => (await queue.dead()).length > 0);
      expect(seen.map(({ body, attempt }) => `${body}/${attempt}`).toSorted()).toEqual(["0/1", "1/1", "1/2"]);
      expect(await queue.dead()).toMatchObject([{ _id: ids[1], _reason: "handler", body: "1" }]);
      expect(await queue.pending()).toBe(0);
    });

    test("what a consumer left that never came back is taken over, and its name removed once it is empty", async () => {
      await using queue = server.queue();
      await queue.fill(3);
      await server.admin.xgroup("CREATE", queue.stream, queue.group, "0");
      const beganMs = performance.now();
      await server.admin.xreadgroup("GROUP", queue.group, "before", "COUNT", 3, "STREAMS", queue.stream, ">");
      const { seen, handle } = recorder<number>();
      const consumer = queue.consumer({ claimAfterMs: 300, blockMs: 200 });
      void consumer.run(handle);
      await until(() => seen.length === 3);
      expect(performance.now() - beganMs).toBeGreaterThanOrEqual(299);
      expect(seen.map(({ attempt }) => attempt)).toEqual([2, 2, 2]);
      await until(async () => !JSON.stringify(await queue.consumers()).includes('"before"'));
      expect(await queue.pending()).toBe(0);
    });

    test("a group that is gone is made again, and what came in between is handled", async () => {
      await using queue = server.queue();
      await queue.fill(3);
      const { seen, handle } = recorder<number>();
      const consumer = queue.consumer();
      void consumer.run(handle);
      await until(() => seen.length === 3);
      for (let round = 1; round <= 3; round++) {
        await server.admin
          .multi()
          .del(queue.stream)
          .xadd(queue.stream, "*", "body", String(100 * round))
          .exec();
        await until(() => seen.length === 3 + round);
      }
      expect(seen.map(({ body }) => body)).toEqual([0, 1, 2, 100, 200, 300]);
      expect(queue.events.filter(({ event }) => event === "group-created").length).toBe(4);
    });

    test("a handler of many times claimAfterMs runs once beside an idle consumer", async () => {
      await using queue = server.queue();
      await queue.fill(4);
      const claimAfterMs = 1500;
      const { seen, handle } = recorder<number>();
      const work = async (message: Parameters<typeof handle>[0]): Promise<void> => {
        handle(message);
        await new Promise((resolve) => setTimeout(resolve, 2.5 * claimAfterMs));
        message.assertHeld();
      };
      for (let i = 0; i < 2; i++) void queue.consumer({ concurrency: 4, claimAfterMs }).run(work);
      await until(async () => seen.length >= 4 && (await queue.pending()) === 0);
      expect(seen.map(({ body }) => body).toSorted()).toEqual([0, 1, 2, 3]);
    });
  },
);
