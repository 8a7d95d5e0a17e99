import { UnavailableError } from "@coord/core";
import { deferred, type Deferred } from "../limit.ts";
import { Delivery } from "./delivery.ts";
import type { Teller } from "./events.ts";
import type { MessageLostReason } from "./lost.ts";
import type { Settings } from "./options.ts";
import { ageMs, type Stamp, stamp } from "./stamp.ts";
import { type Entry, type Steps, acksPerCall, tokensPerCall } from "./steps.ts";

/** What this consumer has been given and has not settled: it is kept from going idle until it is. */
export interface Hand {
  readonly size: number;
  /** Acknowledgements that Redis has not answered. */
  readonly unacknowledged: number;
  ids(): string[];
  /** Whether a message is in hand that may be one that kills its consumers. */
  hasRisky(): boolean;
  /** Undefined when it was in hand already: its count is adopted then, and nothing is to be started. */
  take(entry: Entry, sent: Stamp): Delivery | undefined;
  drop(delivery: Delivery): void;
  /** Asks whether these are still ours, which keeps them from going idle; what is not is lost. */
  refresh(deliveries: readonly Delivery[]): Promise<void>;
  lose(delivery: Delivery, reason: MessageLostReason): void;
  /** Acknowledges with the next call; one that gets no answer in time is left to be delivered again. */
  ack(delivery: Delivery): void;
  /** As `ack`; rejects with why the message was lost, or with `UnavailableError`. */
  ackConfirmed(delivery: Delivery): Promise<void>;
  /** Resolves when no acknowledgement is under way; after `close` soon. */
  settled(): Promise<void>;
  close(): void;
}

/** How much of the time until others may claim a message may pass before it is refreshed, and given up. */
const refreshAt = 1 / 4;
const giveUpAt = 5 / 6;
const ticks = 12;
const callMs = 5000;
const slowestPauseMs = 1000;

export function createHand(
  steps: Steps,
  settings: Settings<unknown>,
  teller: Teller,
  trouble: (error: unknown) => void,
): Hand {
  const { claimAfterMs, riskyFrom } = settings;
  const held = new Map<string, Delivery>();
  const waitingForAck = new Map<Delivery, Deferred<void> | undefined>();
  let flushing: Promise<void> | undefined;
  let closed = false;

  function drop(delivery: Delivery): void {
    if (held.get(delivery.id) === delivery) held.delete(delivery.id);
  }

  function lose(delivery: Delivery, reason: MessageLostReason): void {
    drop(delivery);
    if (delivery.lost !== undefined) return;
    delivery.lose(reason);
    teller.tell({ event: "lost", id: delivery.id, attempt: delivery.attempt, reason });
  }

  async function refreshCall(deliveries: readonly Delivery[]): Promise<void> {
    for (const delivery of deliveries) delivery.refreshing = true;
    const sent = stamp();
    const attempts = deliveries.map(({ attempt }) => attempt);
    try {
      const answers = await steps.refresh(deliveries, Math.min(callMs, claimAfterMs * refreshAt));
      for (const [i, delivery] of deliveries.entries()) {
        const answer = answers[i];
        if (held.get(delivery.id) !== delivery) continue;
        if (answer === "held") delivery.confirmed = sent;
        // What raises the count or acknowledges may have overtaken this call: their own answers decide.
        else if (delivery.retrying || waitingForAck.has(delivery) || delivery.attempt !== attempts[i])
          continue;
        else if (answer === "trimmed" && delivery.isHeld(claimAfterMs)) delivery.trimmed = true;
        else lose(delivery, answer === "acknowledged" ? answer : "claimed");
      }
    } catch (error) {
      trouble(error);
    } finally {
      for (const delivery of deliveries) delivery.refreshing = false;
    }
  }

  async function refresh(deliveries: readonly Delivery[]): Promise<void> {
    const calls: Promise<void>[] = [];
    for (let i = 0; i < deliveries.length; i += tokensPerCall) {
      calls.push(refreshCall(deliveries.slice(i, i + tokensPerCall)));
    }
    await Promise.all(calls);
  }

  function tick(): void {
    const due: Delivery[] = [];
    for (const delivery of held.values()) {
      if (delivery.trimmed) continue;
      const age = ageMs(delivery.confirmed);
      if (age >= claimAfterMs * giveUpAt) lose(delivery, "stale");
      else if (age >= claimAfterMs * refreshAt && !delivery.refreshing && !delivery.retrying) {
        due.push(delivery);
      }
    }
    void refresh(due);
  }
  const ticking = setInterval(tick, claimAfterMs / ticks);
  ticking.unref();

  function giveUp(delivery: Delivery, cause?: unknown): void {
    const asked = waitingForAck.get(delivery);
    waitingForAck.delete(delivery);
    drop(delivery);
    const late = "the message could not be acknowledged in time: it may be delivered again";
    const told = delivery.lost === undefined || delivery.lost.reason === "stale";
    asked?.reject(told ? new UnavailableError(late, { cause }) : delivery.lost);
  }

  /** `repeated`: an earlier call may have done it, so that "not pending" means done. */
  async function acknowledge(batch: readonly Delivery[], repeated: ReadonlySet<Delivery>): Promise<void> {
    const answers = await steps.ack(batch);
    let acked = 0;
    for (const [i, delivery] of batch.entries()) {
      const answer = answers[i];
      const own = repeated.has(delivery) || delivery.trimmed;
      if (answer === "acked" || (answer === "acknowledged" && own)) {
        acked++;
        drop(delivery);
        waitingForAck.get(delivery)?.resolve();
        waitingForAck.delete(delivery);
      } else {
        lose(delivery, answer === "acknowledged" ? answer : "claimed");
        giveUp(delivery);
      }
    }
    if (teller.heard && acked > 0) teller.tell({ event: "acked", messages: acked });
  }

  async function flush(): Promise<void> {
    await new Promise(setImmediate); // what is finished in the same turn goes in the same call
    const repeated = new Set<Delivery>();
    let pauseMs = 25;
    let cause: unknown;
    while (waitingForAck.size > 0) {
      const batch: Delivery[] = [];
      for (const delivery of waitingForAck.keys()) {
        if (closed || (delivery.lost?.reason === "stale" && repeated.has(delivery))) giveUp(delivery, cause);
        else if (batch.push(delivery) === acksPerCall) break;
      }
      if (batch.length === 0) break;
      try {
        await acknowledge(batch, repeated);
        pauseMs = 25;
      } catch (error) {
        cause = error;
        trouble(error);
        for (const delivery of batch) repeated.add(delivery);
        if (!(error instanceof UnavailableError)) for (const delivery of batch) lose(delivery, "stale");
        const pausing = pauseMs;
        await new Promise((resolve) => setTimeout(resolve, pausing));
        pauseMs = Math.min(pauseMs * 2, slowestPauseMs);
      }
    }
    flushing = undefined;
  }

  function ack(delivery: Delivery, asked: Deferred<void> | undefined): void {
    waitingForAck.set(delivery, asked);
    flushing ??= flush();
  }

  return {
    get size() {
      return held.size;
    },
    get unacknowledged() {
      return waitingForAck.size;
    },
    ids: () => [...held.keys()],
    hasRisky() {
      for (const { attempt } of held.values()) if (attempt >= riskyFrom) return true;
      return false;
    },
    take(entry, sent) {
      const known = held.get(entry.id);
      if (known === undefined) {
        const delivery = new Delivery(entry, sent);
        held.set(entry.id, delivery);
        return delivery;
      }
      known.attempt = entry.attempt;
      known.confirmed = sent;
      return undefined;
    },
    drop,
    lose,
    ack: (delivery) => ack(delivery, undefined),
    ackConfirmed(delivery) {
      const asked = deferred<void>();
      ack(delivery, asked);
      return asked.promise;
    },
    async settled() {
      while (flushing !== undefined) await flushing;
    },
    refresh,
    close() {
      closed = true;
      clearInterval(ticking);
    },
  };
}
