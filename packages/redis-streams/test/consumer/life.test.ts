/** How a consumer starts, hands out, stops, and lives through trouble. */
import { setTimeout as sleep } from "node:timers/promises";
import { whyMissing } from "@coord/test-fixtures";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Message } from "../../src/consumer/index.ts";
import { startDisposableProxy, until } from "../server.ts";
import { aborted, gate, recorder, startQueues } from "./queue.ts";

const missing = await whyMissing("redis");

describe.skipIf(missing !== undefined)(
  `a consumer's life${missing ? `: ${missing}` : ""}`,
  { timeout: 60_000, concurrent: true },
  () => {
    let server: Awaited<ReturnType<typeof startQueues>>;
    beforeAll(async () => {
      server = await startQueues();
    }, 60_000);
    afterAll(() => server[Symbol.asyncDispose]());

    test("stop ends a read that is blocked for a minute at once", async () => {
      await using queue = server.queue();
      const consumer = queue.consumer({ blockMs: 60_000, claimAfterMs: 600_000 });
      const running = consumer.run(() => {});
      await server.admin.xgroup("CREATE", queue.stream, queue.group, "0", "MKSTREAM").catch(() => {});
      await until(async () => (await queue.consumers()).length === 1); // it reads
      await sleep(50);
      const beganMs = performance.now();
      await consumer.stop();
      await running;
      expect(performance.now() - beganMs).toBeLessThan(1900); // after 2 s it would give the connection up
    });

    test("nothing is lost, run twice or left pending by consumers that start and stop under load", async () => {
      await using queue = server.queue();
      const { seen, handle } = recorder<number>();
      let sent = 0;
      let over = false;
      const producing = (async () => {
        for (; !over; sent += 20) {
          await queue.fill(20, sent);
          await sleep(2);
        }
      })();
      for (let i = 0; i < 20; i++) {
        const consumer = queue.consumer({ concurrency: 8, claimAfterMs: 20_000 });
        const running = consumer.run(handle);
        await sleep(5 + Math.random() * 60);
        await consumer.stop();
        await running;
      }
      over = true;
      await producing;
      const last = queue.consumer({ claimAfterMs: 20_000 });
      const running = last.run(handle);
      await until(() => seen.length >= sent);
      await last.stop();
      await running;
      expect(seen.map(({ body }) => body).toSorted((a, b) => a - b)).toEqual(
        Array.from({ length: sent }, (_, i) => i),
      );
      expect(await queue.pending()).toBe(0);
      const names = (await queue.consumers()).map((row) => (row as string[])[1]);
      expect(names.filter((name) => name !== "~returned")).toEqual([]);
    });

    test("stop waits for handlers, whose messages are then acknowledged", async () => {
      await using queue = server.queue();
      await queue.fill(1);
      const consumer = queue.consumer();
      const started = gate();
      const finish = gate();
      const running = consumer.run(async ({ signal }) => {
        started.open();
        await finish.opened;
        expect(signal.aborted).toBe(false);
      });
      await started.opened;
      const stopped = consumer.stop();
      await sleep(50);
      finish.open();
      await stopped;
      await running;
      expect(await queue.pending()).toBe(0);
    });

    test("a handler that the stop interrupts gives its message back at once", async () => {
      await using queue = server.queue();
      await queue.fill(1);
      const consumer = queue.consumer({ claimAfterMs: 60_000 });
      const started = gate();
      let reason: unknown;
      const running = consumer.run(async ({ signal }) => {
        started.open();
        reason = await aborted(signal);
        signal.throwIfAborted();
      });
      await started.opened;
      await consumer.stop({ graceMs: 10 });
      await running;
      expect(reason).toMatchObject({ code: "COORD_LEASE_LOST", reason: "stopping" });
      const { seen, handle } = recorder<number>();
      void queue.consumer({ claimAfterMs: 60_000 }).run(handle);
      await until(() => seen.length === 1);
      expect(seen[0]?.attempt).toBe(2); // it had begun, and the attempt is a fence
    });

    test("stop is bounded also where a handler ignores its signal, whose message stays its own for now", async () => {
      await using queue = server.queue();
      await queue.fill(1);
      const consumer = queue.consumer();
      const started = gate();
      const never = gate();
      const running = consumer.run(async () => {
        started.open();
        await never.opened;
      });
      await started.opened;
      const beganMs = performance.now();
      await consumer.stop({ graceMs: 50 });
      await running;
      expect(performance.now() - beganMs).toBeLessThan(8000);
      expect(await queue.pendingRows()).toMatchObject([
        [expect.any(String), consumer.name, expect.any(Number), 1],
      ]);
      never.open();
    });

    test("what waited for its next try when the consumer stopped comes elsewhere when it is due, counted", async () => {
      await using queue = server.queue();
      await queue.fill(1);
      const failed = gate();
      const consumer = queue.consumer({ retry: () => 700, claimAfterMs: 2000 });
      const running = consumer.run(() => {
        setImmediate(failed.open);
        throw new Error("not now");
      });
      await failed.opened;
      await until(() => queue.events.some(({ event }) => event === "retry"));
      const beganMs = performance.now();
      await consumer.stop();
      await running;
      const { seen, handle } = recorder<number>();
      void queue.consumer({ claimAfterMs: 2000 }).run(handle);
      await until(() => seen.length === 1);
      expect(performance.now() - beganMs).toBeGreaterThan(600);
      expect(seen[0]?.attempt).toBe(2);
    });

    test("under a name of its own a consumer handles what was pending first, then what is new", async () => {
      await using queue = server.queue();
      await queue.fill(3);
      await server.admin.xgroup("CREATE", queue.stream, queue.group, "0");
      await server.admin.xreadgroup("GROUP", queue.group, "me", "COUNT", 3, "STREAMS", queue.stream, ">");
      await queue.fill(3, 3);
      const { seen, handle } = recorder<number>();
      void queue.consumer({ consumer: "me", concurrency: 2, claimAfterMs: 60_000 }).run(handle);
      await until(() => seen.length === 6);
      expect(seen.map(({ body, attempt }) => `${body}/${attempt}`)).toEqual([
        "0/2",
        "1/2",
        "2/2",
        "3/1",
        "4/1",
        "5/1",
      ]);
    });

    test("one name in two processes: the older delivery is told that it lost", async () => {
      await using queue = server.queue();
      await queue.fill(1);
      const first = await queue.consumer({ consumer: "me" }).next();
      const second = await queue.consumer({ consumer: "me" }).next();
      expect(second).toMatchObject({ id: first?.id, attempt: 2 });
      expect(first && (await aborted(first.signal))).toMatchObject({ reason: "claimed" });
      await second?.ack();
      expect(await queue.pending()).toBe(0);
    });

    test("connections that are cut while messages come lose none of them", async () => {
      await using queue = server.queue();
      await using proxy = await startDisposableProxy(server.url);
      await using lane = server.queue(proxy.url);
      const { seen, handle } = recorder<number>();
      void lane.consumer({ stream: queue.stream, concurrency: 4 }).run(handle);
      for (let round = 0; round < 10; round++) {
        await queue.fill(20, 20 * round);
        await sleep(20);
        proxy.cut();
      }
      await until(
        async () => new Set(seen.map(({ body }) => body)).size === 200 && (await queue.pending()) === 0,
      );
      expect(await queue.dead()).toEqual([]);
    });

    test("an answer of a read that never arrived is found and handled", async () => {
      await using queue = server.queue();
      await using proxy = await startDisposableProxy(server.url);
      await using lane = server.queue(proxy.url);
      const { seen, handle } = recorder<number>();
      const { done } = proxy.swallowReply({ match: (chunk) => chunk.includes("xreadgroup") });
      await server.admin.xgroup("CREATE", queue.stream, queue.group, "0", "MKSTREAM");
      void lane.consumer({ stream: queue.stream, claimAfterMs: 60_000 }).run(handle);
      await until(async () => (await queue.consumers()).length === 1); // it reads
      await queue.fill(1);
      await done;
      await until(() => seen.length === 1);
      expect(seen[0]).toMatchObject({ body: 0, attempt: 2 });
    });

    test("an acknowledgement whose answer was lost is repeated, and the handler does not run again", async () => {
      await using queue = server.queue();
      await using proxy = await startDisposableProxy(server.url);
      await using lane = server.queue(proxy.url);
      const consumer = lane.consumer({ stream: queue.stream, claimAfterMs: 5000 });
      await queue.fill(2);
      await (await consumer.next())?.ack(); // the server knows the script
      const message = await consumer.next();
      const { done } = proxy.swallowReply({
        match: (chunk) => chunk.includes("evalsha") && chunk.includes(message?.id ?? ""),
      });
      await message?.ack();
      await done;
      expect(await queue.pending()).toBe(0);
    });

    test("next answers null after its time, rejects with the abort's reason, and hands nothing to nobody", async () => {
      await using queue = server.queue();
      const consumer = queue.consumer({ claimAfterMs: 60_000 });
      expect(await consumer.next({ waitMs: 30 })).toBeNull();
      const reason = new Error("enough");
      await expect(consumer.next({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      const abort = new AbortController();
      const asked = consumer.next({ signal: abort.signal });
      abort.abort(reason);
      await expect(asked).rejects.toBe(reason);
      // The read that these wishes started may still bring something: another consumer gets it, uncounted.
      await queue.fill(1);
      const other = await queue.consumer({ claimAfterMs: 60_000 }).next();
      expect(other).toMatchObject({ body: 0, attempt: 1 });
    });

    test("the iterator gives back a message whose loop was left without settling it", async () => {
      await using queue = server.queue();
      await queue.fill(2);
      const consumer = queue.consumer();
      let first: Message<number> | undefined;
      for await (const message of consumer) {
        first = message;
        break;
      }
      const attempts: string[] = [];
      for await (const message of consumer) {
        attempts.push(`${message.body}/${message.attempt}`);
        await message.ack();
        if (attempts.length === 2) break;
      }
      expect(attempts.toSorted()).toEqual(["0/2", "1/1"]);
      expect(() => first?.assertHeld()).toThrow(/settled|acknowledged, given back or rejected/);
      await consumer.stop();
      for await (const message of consumer) expect.unreachable(`a stopped consumer has no ${message.id}`);
    });

    test("nack waits as long as it says, reject buries at once, and each settles once", async () => {
      await using queue = server.queue();
      const [id] = await queue.fill(1);
      const consumer = queue.consumer();
      const first = await consumer.next();
      const beganMs = performance.now();
      await first?.nack(300);
      await expect(first?.ack()).rejects.toMatchObject({ reason: "settled" });
      const second = await consumer.next();
      expect(performance.now() - beganMs).toBeGreaterThan(290);
      expect(second).toMatchObject({
        id,
        attempt: 2,
        fence: 2n,
        key: `${queue.stream}/${queue.group}/${id}`,
      });
      await second?.reject(new RangeError("too much"));
      expect(await queue.dead()).toMatchObject([
        { _id: id, _reason: "rejected", _error: "RangeError: too much" },
      ]);
      expect(await queue.pending()).toBe(0);
    });

    test("within run, too, a handler may give back or reject by saying so", async () => {
      await using queue = server.queue();
      await queue.fill(2);
      const { seen, handle } = recorder<number>();
      void queue.consumer().run(async (message) => {
        handle(message);
        if (message.body === 1) await message.reject("unwanted");
        else if (message.attempt === 1) await message.nack(10);
      });
      await until(async () => seen.length === 3 && (await queue.pending()) === 0);
      expect(seen.map(({ body, attempt }) => `${body}/${attempt}`).toSorted()).toEqual(["0/1", "0/2", "1/1"]);
      expect(await queue.dead()).toMatchObject([{ _reason: "rejected", _error: "unwanted" }]);
    });

    test("handled entries are deleted where that was asked for and no other group may need them", async () => {
      await using queue = server.queue();
      await queue.fill(5);
      void queue.consumer({ deleteHandled: true }).run(() => {});
      await until(async () => (await server.admin.xlen(queue.stream)) === 0);
      await server.admin.xgroup("CREATE", queue.stream, "audit", "$");
      await queue.fill(5);
      await until(
        async () =>
          (await queue.pending()) === 0 && queue.events.filter((e) => e.event === "handled").length === 10,
      );
      expect(await server.admin.xlen(queue.stream)).toBe(5);
    });

    test("trim removes what every group has acknowledged and nothing else", async () => {
      await using queue = server.queue();
      const ids = await queue.fill(6);
      const consumer = queue.consumer();
      await server.admin.xgroup("CREATE", queue.stream, "slow", "0");
      const { seen, handle } = recorder<number>();
      void consumer.run(handle);
      await until(async () => seen.length === 6 && (await queue.pending()) === 0);
      expect(await consumer.trim()).toBe(0);
      await server.admin.xreadgroup("GROUP", "slow", "one", "COUNT", 4, "STREAMS", queue.stream, ">");
      await server.admin.xack(queue.stream, "slow", ids[0] ?? "", ids[1] ?? "", ids[3] ?? "");
      expect(await consumer.trim()).toBe(2);
      const left = await server.admin.xrange(queue.stream, "-", "+");
      expect(left.map(([id]) => id)).toEqual(ids.slice(2));
    });
  },
);
