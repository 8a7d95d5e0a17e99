import { CoordError } from "@coord/core";

/**
 * Why a delivery ended: `claimed`: another delivery took its place; `acknowledged`: somebody acknowledged or
 * removed the message; `stale`: no answer came in time, so others may have it; `stopping`: the consumer stops;
 * `settled`: this delivery said itself how it ended.
 */
export type MessageLostReason = "claimed" | "acknowledged" | "stale" | "stopping" | "settled";

const explanations: Readonly<Record<MessageLostReason, string>> = {
  claimed: "another delivery has taken its place",
  acknowledged: "it was acknowledged or removed by somebody else",
  stale: "Redis did not confirm it in time, so another consumer may have it",
  stopping: "the consumer stops and the grace for its handlers is over",
  settled: "it was acknowledged, given back or rejected already",
};

/** A message is no longer this delivery's: what is done for it now may be done twice. Its code is that of a lost lease. */
export class MessageLostError extends CoordError {
  readonly id: string;
  readonly attempt: number;
  readonly reason: MessageLostReason;

  constructor(delivery: { readonly id: string; readonly attempt: number }, reason: MessageLostReason) {
    super(
      "COORD_LEASE_LOST",
      `delivery ${delivery.attempt} of message ${delivery.id} has ended: ${explanations[reason]}`,
    );
    this.id = delivery.id;
    this.attempt = delivery.attempt;
    this.reason = reason;
  }
}
