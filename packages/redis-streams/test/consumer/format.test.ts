/** What is sent and read: codecs, schemas, idempotent producing, events, and options that can't work. */
import { whyMissing } from "@coord/test-fixtures";
import { type } from "arktype";
import { Redis } from "ioredis";
import * as v from "valibot";
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import {
  type ConsumerOptions,
  createConsumer,
  createProducer,
  fieldsCodec,
  jsonCodec,
  type Producer,
  type StandardSchema,
} from "../../src/consumer/index.ts";
import { until } from "../server.ts";
import { quick, startQueues } from "./queue.ts";

const missing = await whyMissing("redis");

interface Payment {
  id: string;
  cents: number;
}
const schemas: Record<string, StandardSchema<Payment>> = {
  zod: z.object({ id: z.string(), cents: z.number() }),
  valibot: v.object({ id: v.string(), cents: v.number() }),
  arktype: type({ id: "string", cents: "number" }),
};

describe.skipIf(missing !== undefined)(
  `what is sent and read${missing ? `: ${missing}` : ""}`,
  { timeout: 60_000, concurrent: true },
  () => {
    let server: Awaited<ReturnType<typeof startQueues>>;
    beforeAll(async () => {
      server = await startQueues();
    }, 60_000);
    afterAll(() => server[Symbol.asyncDispose]());

    test.for(Object.entries(schemas))(
      "%s: what does not match goes to the dead letters with the reason",
      async ([, schema]) => {
        await using queue = server.queue();
        await using producer = createProducer({ url: server.url, stream: queue.stream, schema });
        await producer.produce({ id: "a", cents: 1 });
        await server.admin.xadd(queue.stream, "*", "body", '{"id":"b","cents":"many"}');
        await server.admin.xadd(queue.stream, "*", "body", "{");
        await server.admin.xadd(queue.stream, "*", "other", "1");
        const seen: Payment[] = [];
        void queue.consumer({ schema }).run(({ body }) => void seen.push(body));
        await until(async () => seen.length === 1 && (await queue.dead()).length === 3);
        expect(seen).toEqual([{ id: "a", cents: 1 }]);
        const dead = (await queue.dead()).toSorted((a, b) =>
          String(a["_id"]).localeCompare(String(b["_id"])),
        );
        expect(dead.map(({ _reason, _count }) => [_reason, _count])).toEqual(
          Array.from({ length: 3 }, () => ["malformed", "1"]),
        );
        expect(dead[0]?.["_error"]).toMatch(/^MalformedError: .*cents/);
        expect(dead[1]?.["_error"]).toContain("SyntaxError");
        expect(dead[2]).toMatchObject({ _error: expect.stringContaining('no field "body"'), other: "1" });
        await expect(producer.produce({ id: "c" } as Payment)).rejects.toMatchObject({
          code: "COORD_INVALID_ARGUMENT",
        });
        expect(await queue.pending()).toBe(0);
      },
    );

    test("an asynchronous schema, and one that transforms", async () => {
      await using queue = server.queue();
      const schema = z.object({ at: z.string() }).transform(async ({ at }) => new Date(at));
      const consumer = queue.consumer({ schema });
      await server.admin.xadd(queue.stream, "*", "body", '{"at":"2020-01-02T03:04:05Z"}');
      const message = await consumer.next();
      expectTypeOf(message?.body).toEqualTypeOf<Date | undefined>();
      expect(message?.body.getUTCFullYear()).toBe(2020);
      await message?.ack();
    });

    test("the fields of entries that others wrote, and another field for the JSON", async () => {
      await using queue = server.queue();
      await server.admin.xadd(queue.stream, "*", "to", "a", "text", "b");
      const plain = await queue.consumer<unknown>({ codec: fieldsCodec() }).next();
      expect(plain?.body).toEqual({ to: "a", text: "b" });
      await plain?.ack();
      await using producer = createProducer({
        url: server.url,
        stream: queue.stream,
        codec: jsonCodec("payload"),
      });
      await producer.produce(["x", null]);
      expect((await server.admin.xrange(queue.stream, "-", "+"))[1]?.[1]).toEqual(["payload", '["x",null]']);
      await using texts = createProducer({
        url: server.url,
        stream: queue.stream,
        codec: fieldsCodec(),
      });
      await texts.produce({ a: "1" });
      for (const body of [{}, "a", { a: 1 }, null])
        await expect(texts.produce(body)).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
      await expect(producer.produce(undefined)).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
    });

    test("with an idempotency key a message is sent once, whoever repeats it", async () => {
      await using queue = server.queue();
      const producers = Array.from({ length: 3 }, () =>
        createProducer({ url: server.url, stream: queue.stream }),
      );
      const send = (producer: Producer<unknown>) => producer.produce(1, { idempotencyKey: "order:1 {x}" });
      const sent = await Promise.all(producers.flatMap((producer) => [send(producer), send(producer)]));
      expect(new Set(sent.map(({ id }) => id)).size).toBe(1);
      expect(sent.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
      expect(await server.admin.xlen(queue.stream)).toBe(1);
      const again = await producers[0]?.produce(2, { idempotencyKey: "order:2", rememberMs: 1000 });
      expect(again).toMatchObject({ duplicate: false });
      const remembered = await server.admin.keys(`{${queue.stream}}:sent:*`);
      expect(remembered).toHaveLength(2);
      for (const key of remembered) expect(await server.admin.pttl(key)).toBeGreaterThan(0);
      await Promise.all(producers.map((producer) => producer.close()));
      await expect(send(producers[0] as Producer<unknown>)).rejects.toMatchObject({
        code: "COORD_UNAVAILABLE",
        notDone: true,
      });
    });

    test("events tell of reads, handlers, retries, acknowledgements, losses and dead letters", async () => {
      await using queue = server.queue();
      await queue.fill(3);
      const consumer = queue.consumer({ maxDeliveries: 2, retry: () => 5 });
      void consumer.run(async ({ body, id }) => {
        if (body === 1) throw new Error("no");
        if (body === 2) await server.admin.xack(queue.stream, queue.group, id);
      });
      const names = () => new Set(queue.events.map(({ event }) => event));
      await until(() => ["dead", "lost", "acked"].every((name) => names().has(name as "dead")));
      expect(
        queue.events.every((event) => event.consumer === consumer.name && event.group === queue.group),
      ).toBe(true);
      expect(queue.events).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ event: "group-created", again: false }),
          expect.objectContaining({ event: "read", source: "new", messages: 3 }),
          expect.objectContaining({
            event: "handled",
            outcome: "done",
            attempt: 1,
            durationMs: expect.any(Number),
          }),
          expect.objectContaining({
            event: "handled",
            outcome: "failed",
            attempt: 2,
            error: new Error("no"),
          }),
          expect.objectContaining({ event: "retry", attempt: 1, delayMs: 5 }),
          expect.objectContaining({ event: "dead", attempt: 2, reason: "handler" }),
          expect.objectContaining({ event: "acked", messages: 1 }),
          expect.objectContaining({ event: "lost", reason: "acknowledged" }),
        ]),
      );
    });
  },
);

describe("options that can't work are refused before anything is sent", () => {
  const fine = { url: "redis://127.0.0.1:1", stream: "s", group: "g" };
  const cluster = { isCluster: true, options: {} } as never;
  test.for<[string, Partial<ConsumerOptions<unknown>> | object, RegExp]>([
    ["no source", { url: undefined }, /either client .* or url/],
    ["both", { client: {} as never }, /either client .* or url/],
    ["a misspelt option", { claimAfterMS: 1 }, /no option claimAfterMS/],
    ["an empty stream", { stream: "" }, /stream must be a text of 1 to 512/],
    ["a stray brace", { stream: "a}b" }, /one pair with something between/],
    ["an empty tag", { stream: "{}a" }, /one pair with something between/],
    ["a group with a line break", { group: "a\nb" }, /group must be a text/],
    ["dead letters into the stream", { deadLetter: "s" }, /another stream/],
    ["a concurrency of 0", { concurrency: 0 }, /concurrency must be an integer from 1 to 1000, got 0/],
    ["a block of half a millisecond", { blockMs: 0.5 }, /blockMs must be an integer from 1/],
    ["a claimAfterMs that is too short", { claimAfterMs: 100 }, /claimAfterMs must be an integer from 300/],
    ["no delivery at all", { maxDeliveries: 0 }, /maxDeliveries must be an integer from 1/],
    ["pauses that shrink", { retry: { minMs: 10, maxMs: 5 } }, /retry.maxMs must be an integer from 10/],
    ["a factor below 1", { retry: { factor: 0.5 } }, /retry.factor must be a number from 1 to 100, got 0.5/],
    ["another way to make groups", { createGroup: "end" }, /createGroup must be "start" or "now" or false/],
    [
      "a key prefix",
      { url: undefined, client: { isCluster: false, options: { keyPrefix: "x" } } as never },
      /keyPrefix/,
    ],
    ["dead letters of another slot", { url: undefined, client: cluster, deadLetter: "d" }, /same \{tag\}/],
  ])("%s", ([, wishes, message]) => {
    expect(() => createConsumer({ ...fine, ...wishes } as ConsumerOptions<unknown>)).toThrow(message);
  });

  test("what a consumer is asked that it can't do", async () => {
    const consumer = createConsumer({ ...fine, ...quick });
    await expect(consumer.stop({ graceMs: -1 })).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
    await expect(consumer.next({ waitMs: 1.5 })).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
    void consumer.run(() => {});
    await expect(consumer.run(() => {})).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
    await expect(consumer.next()).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
    await consumer.stop();
    await expect(consumer.run(() => {})).rejects.toMatchObject({ code: "COORD_CLOSED" });
    expect(await consumer.next()).toBeNull();
  });

  test("a client that is passed in is a template: it is not connected", async () => {
    const client = new Redis({ lazyConnect: true, port: 1, host: "127.0.0.1" });
    const consumer = createConsumer({ client, stream: "s", group: "g", ...quick });
    void consumer.run(() => {});
    await consumer.stop();
    expect(client.status).toBe("wait");
  });
});
