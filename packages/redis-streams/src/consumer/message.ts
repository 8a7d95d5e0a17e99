import type { Message } from "./api.ts";
import type { Delivery } from "./delivery.ts";
import { MessageLostError } from "./lost.ts";

/** What a handler said of its message before it ended. */
export type Verdict =
  | { readonly says: "done" }
  | { readonly says: "again"; readonly delayMs: number | undefined }
  | { readonly says: "reject"; readonly reason: unknown };

/** Where messages came from, and where they are settled. */
export interface Desk {
  readonly stream: string;
  readonly group: string;
  readonly claimAfterMs: number;
  /** Carries a verdict out, or keeps it until the handler has ended. */
  settle(message: HandedMessage<unknown>, verdict: Verdict): Promise<void>;
}

/** A message in somebody's hands: one delivery with its body. */
export class HandedMessage<Body> implements Message<Body> {
  readonly body: Body;
  /** A later delivery of the same message has a number of its own. */
  readonly attempt: number;
  readonly delivery: Delivery;
  readonly startedMs: number = performance.now();
  verdict: Verdict | undefined;
  readonly #desk: Desk;

  constructor(desk: Desk, delivery: Delivery, body: Body) {
    this.#desk = desk;
    this.delivery = delivery;
    this.attempt = delivery.attempt;
    this.body = body;
  }

  get stream(): string {
    return this.#desk.stream;
  }
  get group(): string {
    return this.#desk.group;
  }
  get id(): string {
    return this.delivery.id;
  }
  get key(): string {
    return `${this.#desk.stream}/${this.#desk.group}/${this.delivery.id}`;
  }
  get fence(): bigint {
    return BigInt(this.attempt);
  }
  get signal(): AbortSignal {
    return this.delivery.signal;
  }

  assertHeld(): void {
    if (this.verdict !== undefined) throw new MessageLostError(this, "settled");
    if (this.delivery.lost !== undefined) throw this.delivery.lost;
    if (!this.delivery.isHeld(this.#desk.claimAfterMs)) throw new MessageLostError(this, "stale");
  }

  ack(): Promise<void> {
    return this.#settle({ says: "done" });
  }
  nack(delayMs?: number): Promise<void> {
    return this.#settle({ says: "again", delayMs });
  }
  reject(reason: unknown): Promise<void> {
    return this.#settle({ says: "reject", reason });
  }

  async #settle(verdict: Verdict): Promise<void> {
    if (this.verdict !== undefined) throw new MessageLostError(this, "settled");
    await this.#desk.settle(this, verdict);
  }
}
