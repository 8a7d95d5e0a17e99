import { setTimeout as sleep } from "node:timers/promises";
import { randomBytes } from "node:crypto";
import { UnavailableError } from "@coord/core";
import { ignore } from "./client.ts";
import type { Ear, OpenEar } from "./notifications.ts";

/** Somebody who wants the messages of one channel. */
export interface Topic {
  readonly channel: string;
  onMessage(message: string): void;
  /** The connection was lost (messages may be missed), or is back and listens again. */
  onChange(isLive: boolean): void;
}

/** One listening connection for everybody who waits, opened for the first and closed a while after the last. */
export interface Hub {
  /** Resolves once messages from then on are delivered; rejects where they can't be. */
  readonly subscribe: (topic: Topic) => Promise<void>;
  readonly unsubscribe: (topic: Topic) => void;
  readonly close: () => Promise<void>;
}

export interface HubTimes {
  /** How long a notification to ourselves may take before push counts as dead. @default 2000 */
  readonly deliveryLimitMs: number;
  /** Between such notifications while somebody waits. @default 30000 */
  readonly probeEveryMs: number;
  /** How long push is not tried again where it was found dead from the start (a pooler). @default 300000 */
  readonly deafMs: number;
  /** How long the connection is kept when nobody waits. @default 5000 */
  readonly lingerMs: number;
}

const defaultTimes: HubTimes = {
  deliveryLimitMs: 2000,
  probeEveryMs: 30_000,
  deafMs: 300_000,
  lingerMs: 5000,
};
const longestRetryMs = 15_000;

/** `notify` sends on another connection than the listening one, as holders do. */
export function createHub(
  open: OpenEar,
  notify: (channel: string, message: string) => Promise<void>,
  times: HubTimes = defaultTimes,
): Hub {
  const topics = new Set<Topic>();
  const down = new Set<Topic>();
  const heard = new Set<string>();
  const probeChannel = `coord_${randomBytes(16).toString("hex")}`;
  let ear: Ear | undefined;
  let opening: Promise<void> | undefined;
  let isClosed = false;
  let retryAtMs = 0;
  let failures = 0;
  let timer: NodeJS.Timeout | undefined;
  let retryTimer: NodeJS.Timeout | undefined;
  let onProbe: (() => void) | undefined;
  let probes = 0;

  /** The next thing to do with an open connection: prove that it works, or close it when nobody waits. */
  const tend = (): void => {
    clearTimeout(timer);
    const isWanted = topics.size > 0;
    timer = setTimeout(
      () => void (isWanted ? probe() : drop()),
      isWanted ? times.probeEveryMs : times.lingerMs,
    );
    timer.unref();
  };

  const drop = async (): Promise<void> => {
    const dropped = ear;
    ear = undefined;
    heard.clear();
    clearTimeout(timer);
    await dropped?.close().catch(ignore);
  };

  /** Whether a notification that we send comes back: a transaction pooler takes a LISTEN and delivers nothing. */
  async function isDelivered(): Promise<boolean> {
    const stop = new AbortController();
    const answered = new Promise<boolean>((resolve) => {
      onProbe = () => resolve(true);
    });
    await notify(probeChannel, String(++probes));
    const late = sleep(times.deliveryLimitMs, false, { signal: stop.signal, ref: false }).catch(() => false);
    const result = await Promise.race([answered, late]);
    stop.abort();
    return result;
  }

  async function listen(channel: string): Promise<void> {
    if (ear === undefined || heard.has(channel)) return;
    await ear.listen(channel);
    heard.add(channel);
  }

  async function connect(): Promise<void> {
    let isHere = true;
    const opened = await open({
      onMessage: (channel, message) => {
        if (channel === probeChannel) onProbe?.();
        for (const topic of topics) if (topic.channel === channel) topic.onMessage(message);
      },
      onEnd: () => {
        isHere = false;
        if (ear === opened) lose();
      },
    });
    ear = opened;
    try {
      // Nobody waits for an opening when all is closed: it ends itself.
      if (isClosed) throw new UnavailableError("the backend was closed", { notDone: true });
      await listen(probeChannel);
      for (const channel of new Set([...topics].map((topic) => topic.channel))) await listen(channel);
      if (!(await isDelivered())) {
        retryAtMs = performance.now() + times.deafMs;
        throw new UnavailableError(
          "LISTEN works but nothing is delivered, as behind a transaction pooler; pass `listen: { url }` with a direct address",
        );
      }
      if (!isHere) throw new UnavailableError("the listening connection dropped at once");
    } catch (error) {
      if (ear === opened) await drop();
      else await opened.close().catch(ignore);
      throw error;
    }
    failures = 0;
    tend();
    const back = [...down];
    down.clear();
    for (const topic of back) topic.onChange(true);
  }

  const connectOnce = async (): Promise<void> => {
    if (opening === undefined && ear !== undefined) return;
    opening ??= connect().finally(() => {
      opening = undefined;
    });
    await opening;
  };

  function lose(): void {
    void drop();
    for (const topic of topics) down.add(topic);
    for (const topic of down) topic.onChange(false);
    retry();
  }

  function retry(): void {
    if (isClosed || topics.size === 0) return;
    const delayMs = Math.min(longestRetryMs, 250 * 2 ** failures++) * (0.5 + Math.random());
    clearTimeout(retryTimer);
    retryTimer = setTimeout(() => void connectOnce().catch(retry), delayMs);
    retryTimer.unref();
  }

  /** Finds a connection that died without a word, such as behind a firewall that forgot it. */
  async function probe(): Promise<void> {
    const probed = ear;
    if (probed === undefined) return;
    // A failing notify says nothing about the listening connection.
    const delivered = await isDelivered().catch(() => true);
    if (ear !== probed) return;
    if (delivered) tend();
    else lose();
  }

  return {
    subscribe: async (topic) => {
      if (isClosed) throw new UnavailableError("the backend was closed", { notDone: true });
      if (ear === undefined && performance.now() < retryAtMs) {
        throw new UnavailableError("push was tried a short while ago and did not work", {
          notDone: true,
          retryAfterMs: Math.ceil(retryAtMs - performance.now()),
        });
      }
      topics.add(topic);
      try {
        await connectOnce();
        if (topics.size === 1) tend();
        await listen(topic.channel);
      } catch (error) {
        topics.delete(topic);
        retryAtMs = Math.max(retryAtMs, performance.now() + 1000);
        throw error;
      }
    },
    unsubscribe: (topic) => {
      down.delete(topic);
      if (topics.delete(topic) && topics.size === 0 && ear !== undefined) tend();
    },
    close: async () => {
      isClosed = true;
      topics.clear();
      down.clear();
      clearTimeout(retryTimer);
      await drop();
    },
  };
}
