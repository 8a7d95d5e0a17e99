import { InvalidArgumentError } from "@coord/core";
import type { Session } from "./api.ts";
import { validated } from "./codec.ts";
import type { Delivery } from "./delivery.ts";
import type { Teller } from "./events.ts";
import type { Hand } from "./hand.ts";
import { type Desk, HandedMessage, type Verdict } from "./message.ts";
import { checkedInteger, type Settings } from "./options.ts";
import type { Outcomes } from "./outcomes.ts";

/** What runs for each message; `commits` says that it ends with a commit, before which nothing is acknowledged. */
export interface Work<Body> {
  readonly run: (message: HandedMessage<Body>) => unknown;
  readonly commits: boolean;
}

/** Who waits for the next message; answers false when the wish was withdrawn meanwhile. */
export type Taker<Body> = (message: HandedMessage<Body>) => boolean;

/** Starts deliveries as slots get free: in a handler, or in the hands of who asked for the next one. */
export interface Handling<Body> {
  /** How many deliveries are in somebody's hands. */
  readonly running: number;
  /** How many more could be started. */
  readonly room: () => number;
  /** For so much room a read is worth its round trip. */
  readonly enough: () => number;
  /** From now on each message is handled so. */
  use(work: Work<Body>): void;
  /** Hands the next message over; the answer withdraws the wish. */
  take(taker: Taker<Body>): () => void;
  /** Starts it when there is a slot; a lost one is forgotten. */
  readonly offer: (delivery: Delivery) => void;
  /** Aborts what runs. */
  abort(): void;
  /** What was never started. */
  unstarted(): Delivery[];
}

export interface HandlingParts<Body> {
  readonly hand: Hand;
  readonly outcomes: () => Outcomes;
  readonly settings: Settings<Body>;
  readonly teller: Teller;
  readonly stopping: AbortSignal;
  /** Hands over to others what nobody asks for. */
  readonly giveBack: (deliveries: readonly Delivery[]) => void;
  /** A slot got free, or somebody waits. */
  readonly onRoom: () => void;
}

/** So many failed messages may wait here for their next try before nothing new is read. */
const mostWaiting = 1000;
/** How long a message that came for nobody is kept for the next wish. */
const keepUnwantedMs = 500;

/** In a transaction only an exception rolls back, so a verdict of the handler becomes one. */
class Rollback extends Error {}

export function inSession<Body, Transaction>(
  handler: (message: HandedMessage<Body>, transaction: Transaction) => unknown,
  session: Session<Transaction>,
): Work<Body> {
  return {
    commits: true,
    async run(message) {
      try {
        await session(async (transaction) => {
          await handler(message, transaction);
          if (message.verdict !== undefined) throw new Rollback("rolled back as the handler said");
          message.assertHeld();
        });
      } catch (error) {
        if (!(error instanceof Rollback)) throw error;
      }
    },
  };
}

/** Somebody else's for sure, so that there is nothing to acknowledge. */
const isGone = ({ lost }: Delivery): boolean => lost?.reason === "claimed" || lost?.reason === "acknowledged";

export function createHandling<Body>(parts: HandlingParts<Body>): Handling<Body> {
  const { hand, settings, teller, stopping, onRoom } = parts;
  const { concurrency, codec, schema, claimAfterMs } = settings;
  const queue: Delivery[] = [];
  const running = new Map<string, Delivery>();
  /** The same message again, while a handler that lost it has not ended: never two at once in one process. */
  const parked = new Map<string, Delivery>();
  const takers: Taker<Body>[] = [];
  let work: Work<Body> | undefined;
  let unwanted: NodeJS.Timeout | undefined;

  const desk: Desk = {
    stream: settings.keys.stream,
    group: settings.group,
    claimAfterMs,
    async settle(message, verdict) {
      if (verdict.says === "again" && verdict.delayMs !== undefined)
        checkedInteger("delayMs", verdict.delayMs, 0, 3_600_000);
      if (work?.commits && verdict.says === "done") {
        throw new InvalidArgumentError(
          "ack() must not be called before the commit: return from the handler instead",
        );
      }
      message.verdict = verdict;
      if (work === undefined) await settle(message, verdict);
      else if (verdict.says === "done") await acknowledge(message.delivery); // a handler's other verdicts wait for its end
    },
  };

  function tellHandled(message: HandedMessage<unknown>, failure: { error: unknown } | undefined): void {
    if (!teller.heard) return;
    const { delivery, attempt, startedMs } = message;
    const durationMs = performance.now() - startedMs;
    const addedMs = Number.parseInt(delivery.id, 10);
    teller.tell({
      event: "handled",
      id: delivery.id,
      attempt,
      durationMs,
      waitedMs: Math.max(0, Date.now() - durationMs - addedMs),
      outcome: delivery.lost !== undefined ? "lost" : failure === undefined ? "done" : "failed",
      ...failure,
    });
  }

  async function acknowledge(delivery: Delivery): Promise<void> {
    if (isGone(delivery)) throw delivery.lost;
    await hand.ackConfirmed(delivery);
  }

  /** Carries out what was said of a message and frees its slot. */
  async function settle(message: HandedMessage<unknown>, verdict: Verdict): Promise<void> {
    const { delivery } = message;
    try {
      switch (verdict.says) {
        case "done":
          tellHandled(message, undefined);
          return await acknowledge(delivery);
        case "again": {
          const error = new Error("given back with nack()");
          tellHandled(message, { error });
          return await parts.outcomes().fail(delivery, error, verdict.delayMs);
        }
        case "reject":
          tellHandled(message, { error: verdict.reason });
          return await parts.outcomes().bury(delivery, "rejected", verdict.reason);
      }
    } finally {
      if (work === undefined) free(delivery);
    }
  }

  function free(delivery: Delivery): void {
    running.delete(delivery.id);
    const again = parked.get(delivery.id);
    if (again !== undefined) {
      parked.delete(delivery.id);
      queue.push(again);
    }
    pump();
    onRoom();
  }

  /** Without a promise where the schema needs none: there are many messages, and most are small. */
  function read(delivery: Delivery): HandedMessage<Body> | Promise<HandedMessage<Body>> {
    const body = validated(schema, codec.decode(delivery.fields));
    if (!(body instanceof Promise)) return new HandedMessage(desk, delivery, body);
    return body.then((value) => new HandedMessage(desk, delivery, value));
  }

  async function readOrBury(delivery: Delivery): Promise<HandedMessage<Body> | undefined> {
    try {
      return await read(delivery);
    } catch (error) {
      await parts.outcomes().bury(delivery, "malformed", error);
      return undefined;
    }
  }

  async function handle(delivery: Delivery, { run }: Work<Body>): Promise<void> {
    let message: HandedMessage<Body> | undefined;
    try {
      const reading = read(delivery);
      message = reading instanceof Promise ? await reading : reading;
      await run(message);
      if (message.verdict !== undefined) return await afterVerdict(message, message.verdict);
      message.verdict = { says: "done" };
      tellHandled(message, undefined);
      // What is done is acknowledged whatever the clock says: the count decides whether it may be.
      if (!isGone(delivery)) hand.ack(delivery);
    } catch (error) {
      await afterFailure(delivery, message, error);
    } finally {
      free(delivery);
    }
  }

  async function afterFailure(
    delivery: Delivery,
    message: HandedMessage<Body> | undefined,
    error: unknown,
  ): Promise<void> {
    if (message === undefined) return await parts.outcomes().bury(delivery, "malformed", error);
    if (message.verdict !== undefined) return await afterVerdict(message, message.verdict);
    tellHandled(message, { error });
    await parts.outcomes().fail(delivery, error);
  }

  async function afterVerdict(message: HandedMessage<Body>, verdict: Verdict): Promise<void> {
    if (verdict.says === "done") tellHandled(message, undefined);
    else await settle(message, verdict);
  }

  async function handOver(delivery: Delivery, taker: Taker<Body>): Promise<void> {
    const message = await readOrBury(delivery);
    if (message === undefined) takers.unshift(taker);
    else if (taker(message)) return;
    else queue.unshift(delivery);
    free(delivery);
    returnUnwanted();
  }

  /** A read that was under way when its wish was withdrawn may still bring messages: others shall have them. */
  function returnUnwanted(): void {
    if (work !== undefined || queue.length === 0 || takers.length > 0 || stopping.aborted) return;
    clearTimeout(unwanted);
    unwanted = setTimeout(() => {
      if (work === undefined && takers.length === 0) parts.giveBack(queue.splice(0));
    }, keepUnwantedMs);
    unwanted.unref();
  }

  function start(delivery: Delivery): void {
    if (!delivery.isHeld(claimAfterMs)) return hand.lose(delivery, "stale");
    if (running.has(delivery.id)) return void parked.set(delivery.id, delivery);
    running.set(delivery.id, delivery);
    if (work !== undefined) void handle(delivery, work);
    else {
      const taker = takers.shift();
      if (taker !== undefined) void handOver(delivery, taker);
    }
  }

  function pump(): void {
    while (running.size < concurrency && !stopping.aborted && (work !== undefined || takers.length > 0)) {
      const delivery = queue.shift();
      if (delivery === undefined) return;
      if (delivery.lost === undefined) start(delivery);
    }
  }

  return {
    get running() {
      return running.size;
    },
    room() {
      const { waiting } = parts.outcomes();
      if (stopping.aborted || waiting >= mostWaiting || hand.unacknowledged >= mostWaiting + concurrency)
        return 0;
      const slots = concurrency - running.size - queue.length;
      return work === undefined ? Math.min(slots, takers.length - queue.length) : slots;
    },
    enough: () => (work === undefined ? 1 : Math.ceil(concurrency / 2)),
    use(how) {
      work = how;
      pump();
      onRoom();
    },
    take(taker) {
      takers.push(taker);
      pump();
      onRoom();
      return () => {
        const at = takers.indexOf(taker);
        if (at >= 0) takers.splice(at, 1);
        returnUnwanted();
      };
    },
    offer(delivery) {
      if (delivery.lost !== undefined) return;
      queue.push(delivery);
      pump();
      returnUnwanted();
    },
    abort() {
      for (const delivery of running.values()) delivery.lose("stopping");
    },
    unstarted: () => [...queue, ...parked.values()],
  };
}
