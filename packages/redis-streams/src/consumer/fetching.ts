import { setTimeout as sleep } from "node:timers/promises";
import { ConfigurationError, UnavailableError } from "@coord/core";
import { isReply } from "../errors.ts";
import { deferred, type Deferred } from "../limit.ts";
import type { BlockedRead } from "./blocked-read.ts";
import type { QueueEvent, Teller } from "./events.ts";
import type { Hand } from "./hand.ts";
import type { Delivery } from "./delivery.ts";
import type { Settings } from "./options.ts";
import { ageMs, type Stamp, stamp } from "./stamp.ts";
import type { Entry, Gone, Steps } from "./steps.ts";

/** Gets messages as long as there is room: first what is pending here, then what others left, then new ones. */
export interface Fetching {
  /** Runs until the consumer stops; rejects when going on is useless. */
  run(): Promise<void>;
  /** There is more room, or the consumer stops. */
  wake(): void;
}

export interface FetchingParts {
  readonly settings: Settings<unknown>;
  readonly steps: Steps;
  readonly reader: BlockedRead;
  readonly hand: Hand;
  readonly teller: Teller;
  readonly stopping: AbortSignal;
  readonly trouble: (error: unknown) => void;
  readonly room: () => number;
  /** For so much room a read is worth its round trip; for less it waits a moment. */
  readonly enough: () => number;
  readonly offer: (delivery: Delivery) => void;
}

/** How long to wait for more slots when there are few, in ms: a read for each slot would cost a round trip each. */
const gatherMs = 5;
/** How often room is looked for anyway, in ms. */
const lookMs = 250;
const leastClaimEveryMs = 1000;
const firstPauseMs = 50;
const longestPauseMs = 2000;
const begin = "0-0";

export const isGroupLost = (error: unknown): boolean =>
  error instanceof ConfigurationError &&
  (isReply(error.cause, "NOGROUP") || isReply(error.cause, "UNBLOCKED"));

export function createFetching(parts: FetchingParts): Fetching {
  const { settings, steps, reader, hand, teller, stopping, trouble, room } = parts;
  const { group, claimAfterMs, blockMs } = settings;
  const stream = settings.keys.stream;
  // Often enough for what others gave back when they stopped, too.
  const claimEveryMs = Math.min(claimAfterMs / 2, Math.max(blockMs, leastClaimEveryMs));
  const sweepMs = Math.max(10 * claimAfterMs, 2 * blockMs);
  let waiting: Deferred<void> | undefined;
  /** Something may be pending under our name that is not in hand. */
  let replaying = settings.namedByUser;
  let cursor = begin;
  let claimAtMs = 0;
  let sweepAtMs = performance.now() + sweepMs;
  let prepared = false;
  let seen = false;

  async function wakeUp(limitMs: number): Promise<void> {
    const woken = deferred<void>();
    waiting = woken;
    const timer = setTimeout(woken.resolve, limitMs);
    await woken.promise;
    clearTimeout(timer);
    waiting = undefined;
  }

  async function roomFor(): Promise<number> {
    while (room() === 0 && !stopping.aborted) await wakeUp(lookMs);
    const untilMs = performance.now() + gatherMs;
    for (let left = gatherMs; room() < parts.enough() && left > 0; left = untilMs - performance.now()) {
      if (stopping.aborted || hand.size === 0) break;
      await wakeUp(left);
    }
    return room();
  }

  async function offerAll(entries: readonly Entry[], sent: Stamp, source: Source): Promise<void> {
    if (teller.heard && entries.length > 0) teller.tell({ event: "read", source, messages: entries.length });
    const taken = entries.map((entry) => hand.take(entry, sent)).filter((delivery) => delivery !== undefined);
    // A read that waited long was given its messages at some time in between: ask how long they are ours.
    if (taken.length > 0 && ageMs(sent) > claimAfterMs / 2) await hand.refresh(taken);
    for (const delivery of taken) parts.offer(delivery);
  }

  function tellGone(gone: readonly Gone[]): void {
    for (const { id, reason } of gone) teller.tell({ event: "dead", id, attempt: 0, reason });
  }

  async function replay(limit: number): Promise<void> {
    const sent = stamp();
    const { entries, gone } = await steps.replay(limit, hand.hasRisky() ? 0 : 1, hand.ids());
    tellGone(gone);
    if (entries.length === 0) replaying = false;
    await offerAll(entries, sent, "own");
  }

  async function claim(limit: number): Promise<number> {
    const sent = stamp();
    const { next, entries, gone } = await steps.claim(cursor, limit, hand.hasRisky() ? 0 : 1);
    tellGone(gone);
    cursor = next;
    if (cursor === begin) claimAtMs = performance.now() + claimEveryMs * (0.75 + Math.random() / 2);
    await offerAll(entries, sent, "stale");
    return entries.length;
  }

  async function readNew(limit: number): Promise<void> {
    const sent = stamp();
    // Not for longer than until the next look at what others left; 0 would mean for ever.
    const waitMs = Math.min(blockMs, Math.floor(claimAtMs - performance.now()));
    const entries = await reader.read(limit, cursor === begin && waitMs >= 1 ? waitMs : 0);
    seen = true;
    await offerAll(entries, sent, "new");
  }

  async function sweep(): Promise<void> {
    sweepAtMs = performance.now() + sweepMs;
    await steps.sweep(sweepMs).catch((error: unknown) => teller.tell({ event: "trouble", error }));
  }

  async function fetch(): Promise<void> {
    const free = await roomFor();
    if (free <= 0 || stopping.aborted) return;
    if (performance.now() >= sweepAtMs) await sweep();
    if (replaying) return await replay(free);
    if (performance.now() >= claimAtMs && (await claim(free)) > 0) return;
    if (!stopping.aborted) await readNew(free);
  }

  async function prepare(): Promise<void> {
    if (settings.createGroup !== false && (await steps.createGroup(seen ? "start" : settings.createGroup))) {
      teller.tell({ event: "group-created", again: seen });
    }
    await steps.agree();
    prepared = true;
  }

  /** The group is not there: whether to make it (again). */
  function onGroupLost(error: unknown): void {
    const what = `the group ${JSON.stringify(group)} of the stream ${JSON.stringify(stream)}`;
    if (settings.createGroup === false && !seen) {
      const remedy = "create it with XGROUP CREATE … MKSTREAM, or let createGroup say where it starts";
      throw new ConfigurationError(`${what} does not exist: ${remedy}`, {
        cause: error,
        code: "COORD_NOT_SET_UP",
      });
    }
    if (settings.createGroup === false || settings.onGroupLost === "stop") {
      throw new ConfigurationError(
        `${what} was removed while it was used: look into who did, then start again`,
        {
          cause: error,
        },
      );
    }
    trouble(error);
    seen = true;
    prepared = false;
    cursor = begin;
  }

  return {
    async run() {
      let failures = 0;
      while (!stopping.aborted) {
        try {
          if (!prepared) await prepare();
          await fetch();
          failures = 0;
        } catch (error) {
          if (stopping.aborted) return;
          if (isGroupLost(error)) onGroupLost(error);
          else if (!(error instanceof UnavailableError)) throw error;
          else trouble(error);
          replaying = true; // what was handed out meanwhile may not have reached us
          const pauseMs =
            Math.min(firstPauseMs * 2 ** failures++, longestPauseMs) * (0.5 + Math.random() / 2);
          await sleep(pauseMs, undefined, { signal: stopping }).catch(() => {});
        }
      }
    },
    wake() {
      waiting?.resolve();
    },
  };
}

type Source = Extract<QueueEvent, { event: "read" }>["source"];
