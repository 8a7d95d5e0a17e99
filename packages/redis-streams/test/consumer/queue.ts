/** A stream of its own for each test, on a server that the tests of one file share. */
import { randomBytes } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { RedisOptions } from "@coord/test-fixtures";
import { consumerWith } from "../../src/consumer/consumer.ts";
import {
  type Consumer,
  type ConsumerOptions,
  createConsumer,
  type Message,
  type QueueEvent,
} from "../../src/consumer/index.ts";
import type { QueueScripts } from "../../src/consumer/scripts.ts";
import { startRedis } from "../server.ts";

type Wishes<Body> = Partial<Omit<ConsumerOptions<Body>, "client">>;

/** Short enough for a test, long enough for a busy machine. */
export const quick = { claimAfterMs: 3000, blockMs: 5000, retry: { minMs: 20, maxMs: 20 } } as const;

export async function startQueues(options: RedisOptions = { settings: {} }) {
  const server = await startRedis(options);
  return Object.assign(server, { queue: (url?: string) => openQueue(server, url ?? server.url) });
}

type Queues = Awaited<ReturnType<typeof startRedis>>;

/** The dead letters as objects, oldest first. */
function asObject(fields: string[]): Record<string, string> {
  const object: Record<string, string> = {};
  for (let i = 0; i < fields.length; i += 2) object[fields[i] ?? ""] = fields[i + 1] ?? "";
  return object;
}

function openQueue({ admin }: Pick<Queues, "admin">, url: string) {
  const stream = `t:${randomBytes(6).toString("hex")}`;
  const group = "workers";
  const opened: Consumer<never>[] = [];
  const events: QueueEvent[] = [];
  const listen = (message: unknown): void => {
    const event = message as QueueEvent;
    if (event.stream === stream) events.push(event);
  };
  subscribe("coord:queue", listen);

  return {
    stream,
    group,
    events,
    deadStream: `{${stream}}:${group}:dead`,
    consumer<Body = number>(wishes: Wishes<Body> = {}, scripts?: QueueScripts): Consumer<Body> {
      const all = { url, stream, group, ...quick, ...wishes } as ConsumerOptions<Body>;
      const made = scripts === undefined ? createConsumer<Body>(all) : consumerWith<Body>(all, scripts);
      opened.push(made as Consumer<never>);
      return made;
    },
    /** Bodies from 0, as the default codec writes them. */
    async fill(count: number, from = 0): Promise<string[]> {
      const pipeline = admin.pipeline();
      for (let i = from; i < from + count; i++) pipeline.xadd(stream, "*", "body", String(i));
      return ((await pipeline.exec()) ?? []).map(([, id]) => String(id));
    },
    async pending(): Promise<number> {
      const summary = (await admin.call("XPENDING", stream, group)) as [number];
      return summary[0];
    },
    /** Rows {id, owner, idle, count}. */
    pendingRows: async () =>
      (await admin.call("XPENDING", stream, group, "-", "+", 1000)) as [string, string, number, number][],
    async dead(): Promise<Record<string, string>[]> {
      const rows = await admin.xrange(`{${stream}}:${group}:dead`, "-", "+");
      return rows.map(([, fields]) => asObject(fields));
    },
    consumers: async () => (await admin.xinfo("CONSUMERS", stream, group)) as unknown[],
    async [Symbol.asyncDispose]() {
      await Promise.all(opened.map((consumer) => consumer.stop({ graceMs: 0 })));
      unsubscribe("coord:queue", listen);
    },
  };
}

export type TestQueue = ReturnType<typeof openQueue>;

/** Resolves when `signal` aborts, with its reason. */
export function aborted(signal: AbortSignal): Promise<unknown> {
  if (signal.aborted) return Promise.resolve(signal.reason);
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve(signal.reason), { once: true }),
  );
}

/** A promise with its `open`, for handlers that wait for the test. */
export function gate(): { readonly opened: Promise<void>; open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open: () => open() };
}

/** What a consumer handled, in order. */
export function recorder<Body>(): {
  readonly seen: { id: string; body: Body; attempt: number }[];
  readonly handle: (message: Message<Body>) => void;
} {
  const seen: { id: string; body: Body; attempt: number }[] = [];
  return { seen, handle: ({ id, body, attempt }) => void seen.push({ id, body, attempt }) };
}
