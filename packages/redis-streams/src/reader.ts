import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type CallOptions, type Subscription, UnavailableError } from "@coord/core";
import type { RedisClient, Source } from "./client.ts";
import type { Commands } from "./commands.ts";
import { connectError } from "./errors.ts";
import type { Step } from "./evaluate.ts";
import type { Partition } from "./keys.ts";
import { deferred, limited, within } from "./limit.ts";
import { list, text } from "./replies.ts";
import type { Scripts } from "./scripts.ts";

/** The wake-ups of one partition: one stream of this process, and one connection blocked on it. */
export interface Reader {
  watch(key: string, onWake: () => void, options: CallOptions): Promise<Subscription>;
  /** This process has tried the name: who was woken for it has used the turn. */
  tried(key: string): void;
  /** Leaves all lines, passing turns on, and removes the stream. */
  close(): Promise<void>;
}

/** How long one XREAD blocks, in ms. */
const blockMs = 10_000;
/** How long a call of the reader's own may take, in ms. */
const callMs = 5000;
/** How late its answer may be before the connection counts as dead, in ms. */
const graceMs = 2500;
/** How often the stream and the places in line are renewed, in ms. */
const refreshMs = 10_000;
const streamTtlMs = 30_000;
const placeTtlMs = 3_600_000;
/** How long the reader stays when nobody waits any more, in ms: waiting comes in bursts. */
const lingerMs = 5000;
const farewellMs = 1000;
const namesPerCall = 500;

interface Watcher {
  readonly onWake: () => void;
  /** Woken, and the name not tried since: the turn is still this watcher's to use or to pass on. */
  woken: boolean;
}

const notConnected = (cause: unknown): UnavailableError =>
  new UnavailableError("no connection to Redis for wake-ups", { cause, notDone: true });
const silent = (cause: unknown): UnavailableError =>
  new UnavailableError("the connection for wake-ups went silent", { cause });

export interface ReaderParts {
  readonly source: Source;
  readonly commands: Commands;
  readonly scripts: Scripts;
  readonly partition: Partition;
  /** The reader has ended, nobody waits here. */
  readonly onEnd: () => void;
}

export function createReader({ source, commands, scripts, partition, onEnd }: ReaderParts): Reader {
  const id = randomBytes(12).toString("base64url");
  const stream = partition.reader(id);
  const watchers = new Map<string, Watcher[]>();
  const stopping = new AbortController();
  let started = false;
  let live = false;
  let blocked: RedisClient | undefined;
  /** The first connection, or the next one while it is down. */
  let up = deferred<void>();
  /** The stream has been made; made anew, it was lost. */
  let made = false;
  /** The number of the last entry seen. Entries are numbered without holes, the one that makes the stream is 1. */
  let cursor = 1;
  let linger: NodeJS.Timeout | undefined;
  let refresh: NodeJS.Timeout | undefined;

  /** Takes places in line and keeps the stream; true when the stream had been lost. */
  async function register(keys: readonly string[], options: CallOptions): Promise<boolean> {
    let lost = false;
    for (let at = 0; at === 0 || at < keys.length; at += namesPerCall) {
      const places = keys.slice(at, at + namesPerCall).map((key) => partition.waiters(key));
      const answer = await commands.run(
        { script: scripts.watch, keys: [stream, ...places], args: [id, streamTtlMs, placeTtlMs] },
        options,
      );
      lost ||= answer === 1 && made;
      made = true;
    }
    if (lost) cursor = 1; // numbers start again
    return lost;
  }

  /** As `register`; what is blocked on a lost stream waits for far too high a number, so it starts again. */
  async function registerAnew(keys: readonly string[], options: CallOptions): Promise<void> {
    if (await register(keys, options)) blocked?.disconnect();
  }

  function wakeOne(key: string): void {
    const line = watchers.get(key);
    const first = line?.shift();
    if (line === undefined || first === undefined) return leave(key);
    line.push(first);
    first.woken = true;
    queueMicrotask(first.onWake);
  }

  function wakeAll(key: string): void {
    for (const { onWake } of watchers.get(key) ?? []) queueMicrotask(onWake);
  }

  function wakeEverything(): void {
    for (const key of watchers.keys()) wakeAll(key);
  }

  /** Gives the place in line up and passes the turn on; a failure delays others until they poll. */
  async function unwatch(key: string, timeoutMs: number): Promise<void> {
    const keys: Step["keys"] = [partition.records + key, partition.waiters(key)];
    await commands.run({ script: scripts.unwatch, keys, args: [key, id] }, within(timeoutMs)).catch(() => {});
  }

  function leave(key: string): void {
    void unwatch(key, callMs);
  }

  function deliver(reply: unknown): void {
    if (reply === null) return;
    let trimmed = false;
    for (const entry of list(list(list(reply)[0])[1])) {
      const [entryId, fields] = list(entry);
      const number = Number(text(entryId).slice("0-".length));
      trimmed ||= number !== cursor + 1;
      cursor = number;
      const [kind, key] = list(fields);
      if (kind === "k") wakeOne(text(key));
      else if (kind === "a") wakeAll(text(key));
    }
    if (trimmed) wakeEverything(); // more came than the stream keeps: any name may be among them
  }

  async function connect(): Promise<RedisClient> {
    const node = await commands.masterOf(stream, within(callMs));
    const client = await source.forReader(node);
    let reason: unknown;
    client.on("error", (error) => (reason = error));
    const connected = client.connect().catch((error: unknown) => {
      throw connectError(reason ?? error);
    });
    connected.catch(() => {});
    blocked = client;
    await limited(connected, { signal: stopping.signal, timeoutMs: callMs }, notConnected);
    return client;
  }

  async function readFrom(client: RedisClient): Promise<never> {
    for (;;) {
      const reply = client.call("xread", "COUNT", 1000, "BLOCK", blockMs, "STREAMS", stream, `0-${cursor}`);
      deliver(await limited(reply, { signal: stopping.signal, timeoutMs: blockMs + graceMs }, silent));
    }
  }

  async function run(): Promise<void> {
    for (let failures = 0; !stopping.signal.aborted; failures++) {
      try {
        const client = await connect();
        // What happened meanwhile is unknown: places may be gone, the stream too.
        if (failures > 0) await register([...watchers.keys()], within(callMs));
        live = true;
        up.resolve();
        if (failures > 0) wakeEverything();
        failures = 1;
        await readFrom(client);
      } catch (error) {
        blocked?.disconnect();
        blocked = undefined;
        up.reject(error);
        up = deferred();
        if (live) {
          live = false;
          wakeEverything();
        }
        const pauseMs = Math.min(50 * 2 ** failures, 2000) * (0.5 + Math.random() / 2);
        await sleep(pauseMs, undefined, { signal: stopping.signal, ref: false }).catch(() => {});
      }
    }
  }

  function start(): void {
    if (started) return;
    started = true;
    refresh = setInterval(() => {
      registerAnew([...watchers.keys()], within(callMs)).catch(() => {}); // the next one, or a reconnect, repeats it
    }, refreshMs);
    refresh.unref();
    void run();
  }

  function end(): void {
    stopping.abort();
    clearInterval(refresh);
    clearTimeout(linger);
    live = false;
    blocked?.disconnect();
    up.reject(new UnavailableError("the backend is closed", { notDone: true }));
    onEnd();
  }

  async function removeStream(): Promise<void> {
    await commands.send(["del", stream], within(farewellMs)).catch(() => {}); // its TTL does
  }

  async function remove(key: string, watcher: Watcher): Promise<void> {
    const line = watchers.get(key);
    const at = line?.indexOf(watcher) ?? -1;
    if (line === undefined || at < 0) return;
    line.splice(at, 1);
    if (line.length > 0) {
      if (watcher.woken) wakeOne(key);
      return;
    }
    watchers.delete(key);
    if (watchers.size === 0) {
      linger = setTimeout(() => {
        end();
        void removeStream();
      }, lingerMs);
      linger.unref();
    }
    await unwatch(key, farewellMs);
  }

  return {
    async watch(key, onWake, options) {
      clearTimeout(linger);
      const watcher: Watcher = { onWake, woken: false };
      const line = watchers.get(key);
      if (line === undefined) watchers.set(key, [watcher]);
      else line.push(watcher);
      start();
      try {
        await Promise.all([registerAnew([key], options), limited(up.promise, options, notConnected)]);
      } catch (error) {
        void remove(key, watcher);
        throw error;
      }
      return {
        get live() {
          return live;
        },
        close: () => remove(key, watcher),
      };
    },
    tried(key) {
      for (const watcher of watchers.get(key) ?? []) watcher.woken = false;
    },
    async close() {
      const keys = [...watchers.keys()];
      watchers.clear();
      end();
      await Promise.all([...keys.map((key) => unwatch(key, farewellMs)), removeStream()]);
    },
  };
}
