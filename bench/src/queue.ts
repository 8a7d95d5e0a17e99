/**
 * `pnpm --filter @coord/bench bench:queue [--messages 20000] [--in-flight 1,16,64,256] [--rounds 3]`: messages a second with
 * an empty handler, on one server within one run: a bare XREADGROUP and XACK loop, this consumer, and BullMQ.
 */
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { createConsumer } from "@coord/redis-streams/consumer";
import { start } from "@coord/test-fixtures";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

const { values } = parseArgs({
  options: {
    messages: { type: "string", default: "20000" },
    "in-flight": { type: "string", default: "1,16,64,256" },
    rounds: { type: "string", default: "3" },
    without: { type: "string", default: "" },
  },
});
const messages = Number(values.messages);
const server = await start("redis", { settings: {} });
const admin = new Redis(server.url);
let streams = 0;

async function filled(): Promise<string> {
  const stream = `bench:${(streams += 1)}`;
  for (let sent = 0; sent < messages; sent += 1000) {
    const pipeline = admin.pipeline();
    for (let i = sent; i < Math.min(messages, sent + 1000); i += 1)
      pipeline.xadd(stream, "*", "body", JSON.stringify({ i, to: "somebody", text: "x".repeat(64) }));
    await pipeline.exec();
  }
  await admin.xgroup("CREATE", stream, "g", "0");
  return stream;
}

const rateOf = (beganMs: number): number => Math.round(messages / ((performance.now() - beganMs) / 1000));

/** Reads as many as fit, parses each, acknowledges all in one call. */
async function bare(inFlight: number): Promise<number> {
  const stream = await filled();
  const client = new Redis(server.url, { protocol: 2 });
  await client.ping();
  const began = performance.now();
  for (let done = 0; done < messages;) {
    const read = ["GROUP", "g", "bench", "COUNT", inFlight, "STREAMS", stream, ">"];
    const [[, entries]] = (await client.call("XREADGROUP", ...read)) as [[string, [string, string[]][]]];
    for (const [, fields] of entries) JSON.parse(fields[1] ?? "");
    await client.xack(stream, "g", ...entries.map(([id]) => id));
    done += entries.length;
  }
  const rate = rateOf(began);
  client.disconnect();
  await admin.unlink(stream);
  return rate;
}

async function ours(inFlight: number): Promise<number> {
  const stream = await filled();
  const consumer = createConsumer({ url: server.url, stream, group: "g", concurrency: inFlight });
  let done = 0;
  let began = 0;
  let rate = 0;
  await consumer.run(() => {
    began ||= performance.now(); // the others, too, are connected before the clock starts
    if ((done += 1) < messages) return;
    rate = rateOf(began);
    void consumer.stop();
  });
  const pending = (await admin.xpending(stream, "g")) as [number];
  if (pending[0] !== 0) throw new Error(`${pending[0]} messages were left pending`);
  await admin.unlink(stream);
  return rate;
}

async function bullmq(inFlight: number): Promise<number> {
  const name = `bench${(streams += 1)}`;
  const connection = {
    host: "127.0.0.1",
    port: Number(new URL(server.url).port),
    maxRetriesPerRequest: null,
  };
  const queue = new Queue(name, { connection });
  for (let sent = 0; sent < messages; sent += 1000) {
    const count = Math.min(1000, messages - sent);
    const data = { to: "somebody", text: "x".repeat(64) };
    await queue.addBulk(
      Array.from({ length: count }, (_, i) => ({ name: "job", data: { ...data, i: sent + i } })),
    );
  }
  let done = 0;
  let resolve = (): void => {};
  const promise = new Promise<void>((finish) => (resolve = finish));
  const worker = new Worker(name, async () => undefined, {
    connection,
    concurrency: inFlight,
    autorun: false,
    removeOnComplete: { count: 0 },
  });
  worker.on("completed", () => {
    if ((done += 1) === messages) resolve();
  });
  await worker.waitUntilReady();
  await queue.getJobCounts();
  const began = performance.now();
  void worker.run();
  await promise;
  const rate = rateOf(began);
  await worker.close();
  await queue.obliterate({ force: true });
  await queue.close();
  return rate;
}

const contenders = Object.entries({ bare, coord: ours, bullmq }).filter(
  ([name]) => !values.without.includes(name),
);
const middle = (rates: readonly number[]): number =>
  rates.toSorted((a, b) => a - b)[rates.length >> 1] ?? NaN;
try {
  console.log(
    "| in flight | consumer | messages/s, median (all rounds) | of bare |\n| --- | --- | --- | --- |",
  );
  for (const inFlight of values["in-flight"].split(",").map(Number)) {
    const rates = new Map<string, number[]>();
    for (let round = 0; round < Number(values.rounds); round += 1) {
      for (const [name, run] of contenders)
        rates.set(name, [...(rates.get(name) ?? []), await run(inFlight)]);
    }
    const base = middle(rates.get("bare") ?? []);
    for (const [name, all] of rates)
      console.log(
        `| ${inFlight} | ${name} | ${middle(all)} (${all.join(", ")}) | ${(middle(all) / base).toFixed(2)} |`,
      );
  }
  const load = loadavg().map((each) => each.toFixed(1));
  console.log(
    `Redis ${server.version}, Node ${process.version}, ${messages} messages, load ${load.join(" ")}`,
  );
} finally {
  admin.disconnect();
  await server.stop();
}
