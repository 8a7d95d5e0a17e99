import { type CallOptions, type Subscription, UnavailableError } from "@coord/core";
import { isObject } from "./answers.ts";
import { bounded } from "./call.ts";
import type { MongoChangeStream } from "./driver.ts";
import { codeOf, mapError } from "./errors.ts";

export interface WakeUps {
  /** Resolves once a wake-up of the document `id` from then on is delivered. */
  watch(id: string, onWake: () => void, options: CallOptions): Promise<Subscription>;
  close(): Promise<void>;
}

/** How long the stream stays open without a subscriber, and how long a refusal stands. */
const lingerMs = 30_000;
const refusalMs = 60_000;
const pauseMs = { first: 100, longest: 5000 };

/** Not allowed, unknown to the server, not a replica set: trying again at once does not help. */
const refusals = new Set([13, 59, 115, 166, 323, 8000, 40573]);

type Listener = () => void;

/**
 * Wake-ups from one change stream for all waiters of a process. The stream runs while somebody waits and a
 * while after; after an error it is opened again, and everybody is woken when it goes down or comes back,
 * since what happened in between is not told.
 */
export function createWakeUps(openStream: () => Promise<MongoChangeStream>): WakeUps {
  const listeners = new Map<string, Set<Listener>>();
  const opening = new Map<Listener, { resolve: () => void; reject: (error: unknown) => void }>();
  let stream: MongoChangeStream | undefined;
  let running: Promise<void> | undefined;
  let live = false;
  let closed = false;
  let refused: { readonly error: unknown; readonly untilMs: number } | undefined;
  let linger: NodeJS.Timeout | undefined;
  let endPause: (() => void) | undefined;

  function setLive(now: boolean): void {
    if (live === now) return;
    live = now;
    const told = [...listeners.values()].flatMap((set) => [...set]);
    // Those whose subscription only begins with this have missed nothing.
    for (const onWake of told) if (!opening.has(onWake)) onWake();
    if (now) settleOpening(({ resolve }) => resolve());
  }

  function settleOpening(
    settle: (waiting: { resolve: () => void; reject: (e: unknown) => void }) => void,
  ): void {
    for (const waiting of opening.values()) settle(waiting);
    opening.clear();
  }

  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async function follow(): Promise<void> {
    const current = await openStream();
    stream = current;
    try {
      if (closed) return;
      // The server has opened the cursor when it sends its first resume token; `close` is told whenever the
      // driver drops the cursor, also when it resumes by itself.
      current.on("resumeTokenChanged", () => {
        if (stream === current && !closed) setLive(true);
      });
      current.on("close", () => {
        if (stream === current) setLive(false);
      });
      for (;;) {
        const change = await current.next();
        if (stream !== current || closed) return;
        setLive(true);
        const key = isObject(change) && isObject(change["documentKey"]) ? change["documentKey"]["_id"] : "";
        for (const onWake of listeners.get(String(key)) ?? []) onWake();
      }
    } finally {
      stream = undefined;
      await current.close().catch(() => {});
    }
  }

  const wanted = (): boolean => !closed && listeners.size > 0;

  async function run(): Promise<void> {
    let failures = 0;
    while (wanted()) {
      const startedMs = performance.now();
      let failure: unknown;
      try {
        await follow();
      } catch (error) {
        failure = error;
      }
      setLive(false);
      const code = codeOf(failure);
      const error = mapError(
        failure ?? new UnavailableError("mongodb: the change stream has ended."),
        "watch",
      );
      settleOpening(({ reject }) => reject(error));
      if (code !== undefined && refusals.has(code)) {
        refused = { error, untilMs: performance.now() + refusalMs };
        return;
      }
      failures = performance.now() - startedMs > pauseMs.longest ? 0 : failures + 1;
      const longestMs = Math.min(pauseMs.longest, pauseMs.first * 2 ** failures);
      if (wanted()) await pause(longestMs * (0.5 + Math.random() / 2));
    }
  }

  function start(): void {
    clearTimeout(linger);
    running ??= run().finally(() => {
      running = undefined;
      // Somebody may have come while it ended.
      if (!closed && opening.size > 0) start();
    });
  }

  function remove(id: string, listener: Listener): void {
    const set = listeners.get(id);
    set?.delete(listener);
    if (set?.size === 0) listeners.delete(id);
    if (listeners.size > 0 || closed) return;
    clearTimeout(linger);
    linger = setTimeout(() => {
      endPause?.();
      void stream?.close().catch(() => {});
    }, lingerMs);
    linger.unref();
  }

  return {
    async watch(id, onWake, options) {
      if (closed)
        throw new UnavailableError("mongodb: this backend has been closed. Make a new one.", {
          notDone: true,
        });
      if (refused !== undefined && refused.untilMs > performance.now()) throw refused.error;
      // A set of its own closures: the same function may be subscribed twice.
      const listener = (): void => onWake();
      const set = listeners.get(id) ?? new Set();
      listeners.set(id, set.add(listener));
      const opened = new Promise<void>((resolve, reject) => {
        if (live) resolve();
        else opening.set(listener, { resolve, reject });
      });
      opened.catch(() => {});
      start();
      try {
        await bounded("watch", options, () => opened);
      } catch (error) {
        opening.delete(listener);
        remove(id, listener);
        throw error;
      }
      return {
        get live() {
          return live && listeners.get(id)?.has(listener) === true;
        },
        close: async () => remove(id, listener),
      };
    },
    async close() {
      closed = true;
      clearTimeout(linger);
      endPause?.();
      settleOpening(({ reject }) => reject(new UnavailableError("mongodb: this backend is being closed.")));
      setLive(false);
      await stream?.close().catch(() => {});
    },
  };
}
