import { setTimeout as sleep } from "node:timers/promises";
import type { Delivery } from "./delivery.ts";
import type { DeadReason, Teller } from "./events.ts";
import type { Hand } from "./hand.ts";
import { type Settings, usableDelayMs } from "./options.ts";
import type { Returned, Steps } from "./steps.ts";

/** What becomes of messages that were not handled: tried again later, buried, or given back. */
export interface Outcomes {
  /** How many wait for their next delivery. */
  readonly waiting: number;
  /** Tried again after a pause, or buried when that was its last delivery. Resolves when no slot is needed for it. */
  fail(delivery: Delivery, error: unknown, delayMs?: number): Promise<void>;
  bury(delivery: Delivery, reason: DeadReason, error: unknown): Promise<void>;
  /** Ends the pauses; answers what waited, with what is left of its pause, and what the stop interrupted. */
  stop(): Returned[];
}

export interface OutcomesParts {
  readonly steps: Steps;
  readonly hand: Hand;
  readonly settings: Settings<unknown>;
  readonly teller: Teller;
  readonly stopping: AbortSignal;
  readonly trouble: (error: unknown) => void;
  /** Its next delivery is due. */
  readonly again: (delivery: Delivery) => void;
}

const firstPauseMs = 25;
const longestPauseMs = 1000;
const maxErrorLength = 1000;

function explain(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return text.slice(0, maxErrorLength).toWellFormed();
}

export function createOutcomes(parts: OutcomesParts): Outcomes {
  const { steps, hand, settings, teller, stopping, trouble } = parts;
  const { claimAfterMs, maxDeliveries } = settings;
  const due = new Map<Delivery, { readonly atMs: number; readonly timer: NodeJS.Timeout }>();
  const interrupted = new Set<Delivery>();

  /** Repeats a step until it is answered, the message is lost, or the consumer stops. */
  async function insist<Answer>(
    delivery: Delivery,
    step: () => Promise<Answer>,
  ): Promise<Answer | undefined> {
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      try {
        return await step();
      } catch (error) {
        trouble(error);
        await sleep(pauseMs, undefined, { signal: stopping }).catch(() => {});
        if (delivery.lost !== undefined || stopping.aborted) return undefined;
      }
    }
  }

  async function bury(delivery: Delivery, reason: DeadReason, error: unknown): Promise<void> {
    const { id, attempt } = delivery;
    const text = explain(error);
    async function step(): Promise<"buried" | "claimed" | "acknowledged"> {
      if (!delivery.trimmed) return await steps.bury(delivery, reason, text);
      await steps.buryFromMemory(delivery, reason, text);
      return "buried";
    }
    const answer = delivery.lost === undefined ? await insist(delivery, step) : undefined;
    if (answer === "buried") teller.tell({ event: "dead", id, attempt, reason, error });
    if (answer === "claimed" || answer === "acknowledged") hand.lose(delivery, answer);
    else hand.drop(delivery);
  }

  function delayAfter(delivery: Delivery, error: unknown): number {
    try {
      return settings.delayAfter({ attempt: delivery.attempt, error });
    } catch (failed) {
      trouble(failed);
      return longestPauseMs;
    }
  }

  async function retry(delivery: Delivery): Promise<void> {
    delivery.retrying = true;
    const step = async () => (delivery.trimmed ? ("trimmed" as const) : await steps.retry(delivery));
    const answer = delivery.lost === undefined ? await insist(delivery, step) : undefined;
    delivery.retrying = false;
    due.delete(delivery);
    if (answer === "claimed" || answer === "acknowledged") return hand.lose(delivery, answer);
    if (answer === undefined) return hand.drop(delivery);
    if (answer === "trimmed") {
      delivery.trimmed = true;
      delivery.attempt++;
    } else delivery.attempt = answer;
    parts.again(delivery);
  }

  return {
    get waiting() {
      return due.size;
    },
    async fail(delivery, error, delayMs) {
      if (delivery.lost?.reason === "stopping") return void interrupted.add(delivery);
      if (delivery.lost !== undefined) return hand.drop(delivery);
      if (delivery.attempt >= maxDeliveries) return await bury(delivery, "handler", error);
      const pauseMs = usableDelayMs(delayMs ?? delayAfter(delivery, error));
      const timer = setTimeout(() => void retry(delivery), pauseMs);
      due.set(delivery, { atMs: performance.now() + pauseMs, timer });
      teller.tell({ event: "retry", id: delivery.id, attempt: delivery.attempt, delayMs: pauseMs, error });
    },
    bury,
    stop() {
      const given: Returned[] = [];
      for (const { id, attempt, trimmed } of interrupted) {
        if (!trimmed) given.push({ id, attempt, idleMs: claimAfterMs, counts: true });
      }
      for (const [{ id, attempt, trimmed }, { atMs, timer }] of due) {
        clearTimeout(timer);
        const restMs = Math.max(0, atMs - performance.now());
        const idleMs = Math.max(0, Math.round(claimAfterMs - restMs));
        if (!trimmed) given.push({ id, attempt, idleMs, counts: true });
      }
      return given;
    },
  };
}
