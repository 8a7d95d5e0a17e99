import { channel } from "node:diagnostics_channel";
import type { Channel } from "node:diagnostics_channel";
import type { MessageLostReason } from "./lost.ts";

/**
 * Why a message became a dead letter. `malformed`: it could not be read or does not match the schema;
 * `handler`: its last delivery failed; `deliveries`: its consumers died with it too often; `rejected`: a
 * handler said so; `trimmed`: it was removed from the stream while it was pending.
 */
export type DeadReason = "malformed" | "handler" | "deliveries" | "rejected" | "trimmed";

interface OfMessage {
  readonly id: string;
  readonly attempt: number;
}

type Happening =
  /** Messages came: `new` ones, `own` ones that were pending under this name, or `stale` ones of others. */
  | { readonly event: "read"; readonly source: "new" | "own" | "stale"; readonly messages: number }
  /** A handler, or who called `next`, is done with a delivery. */
  | (OfMessage & {
      readonly event: "handled";
      readonly outcome: "done" | "failed" | "lost";
      readonly durationMs: number;
      /** How long the message was in the stream before this handler started; by two clocks, so never exact. */
      readonly waitedMs: number;
      readonly error?: unknown;
    })
  /** Acknowledged in one call. */
  | { readonly event: "acked"; readonly messages: number }
  /** It will be delivered again. */
  | (OfMessage & { readonly event: "retry"; readonly delayMs: number; readonly error?: unknown })
  /** `attempt` is 0 where nobody knows. */
  | (OfMessage & { readonly event: "dead"; readonly reason: DeadReason; readonly error?: unknown })
  /** A delivery ended from outside. */
  | (OfMessage & { readonly event: "lost"; readonly reason: MessageLostReason })
  /** The group was made, or made again after it had been lost. */
  | { readonly event: "group-created"; readonly again: boolean }
  /** Something failed, and the consumer goes on. */
  | { readonly event: "trouble"; readonly error: unknown };

/** The plain channel `coord:queue` of `node:diagnostics_channel`: what happens in one consumer. */
export type QueueEvent = Happening & {
  readonly stream: string;
  readonly group: string;
  readonly consumer: string;
};

const queue: Channel = channel("coord:queue");

/** Tells who listens; where nobody does, `heard` keeps callers from building events at all. */
export interface Teller {
  readonly heard: boolean;
  tell(happening: Happening): void;
}

export function createTeller(base: { stream: string; group: string; consumer: string }): Teller {
  return {
    get heard() {
      return queue.hasSubscribers;
    },
    tell(happening) {
      if (queue.hasSubscribers) queue.publish({ ...base, ...happening } satisfies QueueEvent);
    },
  };
}
