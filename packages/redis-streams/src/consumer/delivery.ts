import type { Fields } from "./codec.ts";
import { MessageLostError, type MessageLostReason } from "./lost.ts";
import { ageMs, type Stamp } from "./stamp.ts";
import type { Entry } from "./steps.ts";

/** One delivery while it is in this consumer's hands; a retry is the same object with a raised count. */
export class Delivery implements Entry {
  readonly id: string;
  readonly fields: Fields;
  attempt: number;
  /** Sent before the last answer that said it is ours. */
  confirmed: Stamp;
  refreshing = false;
  /** The step that raises the count is under way. */
  retrying = false;
  /** Gone from the stream: nobody else can get it, and nothing is left to acknowledge. */
  trimmed = false;
  /** Why it ended from outside, once it has. */
  lost: MessageLostError | undefined;
  #abort: AbortController | undefined;

  constructor({ id, fields, attempt }: Entry, confirmed: Stamp) {
    this.id = id;
    this.fields = fields;
    this.attempt = attempt;
    this.confirmed = confirmed;
  }

  /** Made when somebody asks for it, since most handlers of short work don't. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.lost !== undefined) this.#abort.abort(this.lost);
    }
    return this.#abort.signal;
  }

  lose(reason: MessageLostReason): void {
    if (this.lost !== undefined) return;
    this.lost = new MessageLostError(this, reason);
    this.#abort?.abort(this.lost);
  }

  /** Whether nobody else can have it yet: by what was heard, and by the clock. */
  isHeld(claimAfterMs: number): boolean {
    return this.lost === undefined && (this.trimmed || ageMs(this.confirmed) < claimAfterMs);
  }
}
