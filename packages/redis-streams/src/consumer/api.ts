import type { ClientOrUrl } from "../client.ts";
import type { Codec, StandardSchema } from "./codec.ts";

/** How entries become messages and back; a producer and its consumers share it. */
export interface FormatOptions<Body> {
  /** How a body is written into the fields of an entry. @default `jsonCodec()`: JSON in the field `body` */
  codec?: Codec | undefined;
  /**
   * A Standard Schema (zod, valibot, arktype and others) that each body must match; what it returns is the
   * message's body.
   *
   * @default none: bodies are taken as they are
   */
  schema?: StandardSchema<Body> | undefined;
}

/** What happened to one delivery that failed. */
export interface Failure {
  /** Which delivery it was, from 1. */
  readonly attempt: number;
  readonly error: unknown;
}

/** Pauses that double, or what `factor` says, with jitter of a quarter either way. */
export interface Backoff {
  /** The first pause, 0 to 3,600,000 ms. @default 1000 */
  minMs?: number | undefined;
  /** The longest pause, up to 3,600,000 ms. @default 60000 */
  maxMs?: number | undefined;
  /** What each pause is multiplied by, 1 to 100. @default 2 */
  factor?: number | undefined;
}

export type ConsumerOptions<Body> = ClientOrUrl &
  FormatOptions<Body> & {
    stream: string;
    group: string;
    /**
     * A name that stays the same over restarts, so that what was pending is handled first. No two processes
     * may use it at once.
     *
     * @default a random name for each consumer: what it leaves is taken over after `claimAfterMs`
     */
    consumer?: string | undefined;
    /** How many messages are handled at once, 1 to 1000. @default 16 */
    concurrency?: number | undefined;
    /** How long one read waits for new messages, 1 to 60,000 ms. @default 5000 */
    blockMs?: number | undefined;
    /**
     * After how long without a sign of life a message is taken from its consumer, 300 to 86,400,000 ms. A
     * handler may take much longer: its messages are refreshed. The group remembers it; another value is refused.
     *
     * @default 30000
     */
    claimAfterMs?: number | undefined;
    /** How often a message is tried before it goes to the dead letters, 1 to 1000. @default 5 */
    maxDeliveries?: number | undefined;
    /** The stream of the dead letters. @default `{stream}:group:dead`, in the stream's slot of a cluster */
    deadLetter?: string | undefined;
    /** How long to wait after a failed delivery; a function answers milliseconds. @default `{ minMs: 1000, maxMs: 60000, factor: 2 }` */
    retry?: Backoff | ((failure: Failure) => number) | undefined;
    /**
     * Whether a missing group is made: from the `start` of the stream, from `now` on, or `false` for not at
     * all, which is an error then.
     *
     * @default "start"
     */
    createGroup?: "start" | "now" | false | undefined;
    /**
     * What to do when the group is gone while the consumer runs (FLUSHALL, DEL, a restart without data): make
     * it again from the start, which handles anew what is left of the history, or stop with an error.
     *
     * @default "create"
     */
    onGroupLost?: "create" | "stop" | undefined;
    /**
     * Deletes entries once they are handled or dead letters, as long as the stream has this group only.
     *
     * @default false: they stay until `trim()`
     */
    deleteHandled?: boolean | undefined;
  };

/** One delivery of one message: a lease on it, with the delivery count as its fence. */
export interface Message<Body> {
  readonly stream: string;
  readonly group: string;
  /** The entry's id; it grows along the stream. */
  readonly id: string;
  readonly body: Body;
  /** Which delivery this is, from 1. */
  readonly attempt: number;
  /** Names this message within this group, the same for every delivery: `stream/group/id`. An idempotency key. */
  readonly key: string;
  /** The attempt as a fencing token: writes that refuse smaller ones refuse a delivery that was overtaken. */
  readonly fence: bigint;
  /**
   * Aborts with a `MessageLostError` when the message was claimed away, when that can no longer be
   * ruled out, or when the consumer stops and its grace is over.
   */
  readonly signal: AbortSignal;
  /**
   * @throws `MessageLostError` once this delivery has ended, by the clock too.
   */
  assertHeld(): void;
  /**
   * Says that the message is done; within `run` a handler that returns says it.
   *
   * @throws `MessageLostError` when the message was no longer this delivery's, `UnavailableError` when
   * no answer came: it may be delivered again.
   */
  ack(): Promise<void>;
  /**
   * Says that this delivery failed: the message comes again after `delayMs`, by default as `retry` says, and
   * goes to the dead letters when this was its last delivery.
   */
  nack(delayMs?: number): Promise<void>;
  /** Moves the message to the dead letters at once, with `reason` as its error. */
  reject(reason: unknown): Promise<void>;
}

/** Opens a transaction, runs `work` in it, commits when it resolves and rolls back when it rejects. */
export type Session<Transaction> = (work: (transaction: Transaction) => Promise<void>) => Promise<unknown>;

export interface RunOptions {
  /** Stops the consumer when it aborts. */
  signal?: AbortSignal | undefined;
}

export interface StopOptions {
  /** How long running handlers may go on before their signals abort, 0 to 3,600,000 ms. @default 30000 */
  graceMs?: number | undefined;
}

export interface NextOptions {
  /** How long to wait for a message, in ms. @default Infinity */
  waitMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** One consumer of one group; starts with the first `run` or `next` and lives until `stop`. */
export interface Consumer<Body> extends AsyncIterable<Message<Body>>, AsyncDisposable {
  /** Its name in the group. */
  readonly name: string;
  /**
   * Handles messages until the consumer is stopped. A handler that returns acknowledges its message; one that
   * throws has it tried again. Settles when everything has drained.
   *
   * @throws what makes going on useless, such as a `ConfigurationError`; outages are waited out.
   */
  run(handler: (message: Message<Body>) => unknown, options?: RunOptions): Promise<void>;
  /**
   * The same with each handler in a transaction: committed only while the message is held, and acknowledged
   * only after the commit.
   */
  run<Transaction>(
    handler: (message: Message<Body>, transaction: Transaction) => unknown,
    options: RunOptions & { session: Session<Transaction> },
  ): Promise<void>;
  /** The next message, to be settled with `ack`, `nack` or `reject`; null after `waitMs` and once stopped. */
  next(options?: NextOptions): Promise<Message<Body> | null>;
  /**
   * Ends a blocked read at once, lets handlers finish, hands the rest back and closes the connections.
   * Settles within `graceMs` and a few seconds, also when Redis is away.
   */
  stop(options?: StopOptions): Promise<void>;
  /** Removes the entries that every group of the stream has acknowledged; answers how many. */
  trim(): Promise<number>;
}
