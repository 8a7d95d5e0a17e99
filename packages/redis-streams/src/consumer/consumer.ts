import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { ConfigurationError, CoordError, InvalidArgumentError } from "@coord/core";
import { createCommands } from "../commands.ts";
import { deferred } from "../limit.ts";
import type {
  Consumer,
  ConsumerOptions,
  Message,
  NextOptions,
  RunOptions,
  Session,
  StopOptions,
} from "./api.ts";
import { createBlockedRead } from "./blocked-read.ts";
import type { Delivery } from "./delivery.ts";
import { createTeller } from "./events.ts";
import { createFetching, type Fetching, isGroupLost } from "./fetching.ts";
import { createHand } from "./hand.ts";
import { createHandling, inSession, type Work } from "./handling.ts";
import { checkedInteger, checkOptions } from "./options.ts";
import { createOutcomes, type Outcomes } from "./outcomes.ts";
import { compileQueueScripts, type QueueScripts } from "./scripts.ts";
import { createSteps, type Returned } from "./steps.ts";

const defaultGraceMs = 30_000;
/** How long handlers may take to end once their signals have aborted, in ms. */
const abortedMs = 1000;
/** How long the last acknowledgements may take, in ms. */
const farewellMs = 2000;

/**
 * A consumer of a group of a Redis Stream: each message at least once, by one consumer at a time.
 *
 * @throws {InvalidArgumentError} on options that can't work; nothing is sent before `run` or `next`.
 */
export function createConsumer<Body = unknown>(options: ConsumerOptions<Body>): Consumer<Body> {
  return consumerWith(options, compileQueueScripts());
}

const stoppedError = (): CoordError =>
  new CoordError("COORD_CLOSED", "the consumer was stopped: make a new one");

/** As `createConsumer`, with the scripts given. */
export function consumerWith<Body>(options: ConsumerOptions<Body>, scripts: QueueScripts): Consumer<Body> {
  const settings = checkOptions(options);
  const { group, consumer: name, claimAfterMs } = settings;
  const commands = createCommands(settings.source, 0);
  const steps = createSteps(commands, settings, scripts);
  const teller = createTeller({ stream: settings.keys.stream, group, consumer: name });
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal); // as many as there are callers of `next` and steps being repeated
  const finished = deferred<void>();
  let life: "new" | "running" | "handing out" | "stopped" = "new";
  let fetched: Promise<void> | undefined;
  let ending: Promise<void> | undefined;
  let cause: unknown;

  function trouble(error: unknown): void {
    teller.tell({ event: "trouble", error });
    if (error instanceof ConfigurationError && !isGroupLost(error)) fail(error);
  }

  function fail(error: unknown): void {
    cause ??= error;
    void end(defaultGraceMs);
  }

  const reader = createBlockedRead(commands, settings, stopping.signal);
  const hand = createHand(steps, settings, teller, trouble);
  const handling = createHandling<Body>({
    hand,
    settings,
    teller,
    stopping: stopping.signal,
    outcomes: () => outcomes,
    giveBack(deliveries) {
      for (const delivery of deliveries) hand.drop(delivery);
      steps.leave(returned(deliveries)).catch(trouble);
    },
    onRoom: () => fetching.wake(),
  });
  const { offer, room, enough } = handling;
  const outcomes: Outcomes = createOutcomes({
    steps,
    hand,
    settings,
    teller,
    stopping: stopping.signal,
    trouble,
    again: offer,
  });
  const fetching: Fetching = createFetching({
    settings,
    steps,
    reader,
    hand,
    teller,
    stopping: stopping.signal,
    trouble,
    room,
    enough,
    offer,
  });

  /** What was never started: claimable at once, and not counted as a delivery. */
  function returned(deliveries: readonly Delivery[]): Returned[] {
    return deliveries
      .filter(({ lost, trimmed }) => lost === undefined && !trimmed)
      .map(({ id, attempt }) => ({ id, attempt, idleMs: claimAfterMs, counts: false }));
  }

  function begin(): void {
    fetched ??= fetching.run().catch(fail);
  }

  async function idle(limitMs: number): Promise<void> {
    const untilMs = performance.now() + limitMs;
    while (handling.running > 0 && performance.now() < untilMs) await sleep(Math.min(10, limitMs));
  }

  async function drain(graceMs: number): Promise<void> {
    stopping.abort();
    fetching.wake();
    await Promise.all([reader.interrupt(), idle(graceMs)]);
    handling.abort();
    await idle(abortedMs);
    await fetched;
    await Promise.race([hand.settled(), sleep(farewellMs)]);
    if (fetched !== undefined) {
      await steps
        .leave([...returned(handling.unstarted()), ...outcomes.stop()])
        .catch((error: unknown) => teller.tell({ event: "trouble", error }));
    }
  }

  function end(graceMs: number): Promise<void> {
    ending ??= drain(graceMs).finally(() => {
      life = "stopped";
      hand.close();
      reader.close();
      commands.close();
      if (cause === undefined) finished.resolve();
      else finished.reject(cause);
    });
    return ending;
  }

  async function stop({ graceMs = defaultGraceMs }: StopOptions = {}): Promise<void> {
    checkedInteger("graceMs", graceMs, 0, 3_600_000);
    await end(graceMs);
  }

  function stopOnAbort(): void {
    void end(defaultGraceMs);
  }

  function enter(as: "running" | "handing out"): void {
    if (ending !== undefined || life === "stopped") throw cause ?? stoppedError();
    if (life === "running" || (life === "handing out" && as === "running")) {
      throw new InvalidArgumentError(
        "a consumer has one run(), and either run() or next(): make another consumer",
      );
    }
    life = as;
  }

  async function run(work: Work<Body>, signal: AbortSignal | undefined): Promise<void> {
    enter("running");
    signal?.addEventListener("abort", stopOnAbort, { once: true });
    handling.use(work);
    begin();
    if (signal?.aborted) stopOnAbort();
    try {
      await finished.promise;
    } finally {
      signal?.removeEventListener("abort", stopOnAbort);
    }
  }

  async function next({ waitMs = Infinity, signal }: NextOptions = {}): Promise<Message<Body> | null> {
    if (waitMs !== Infinity) checkedInteger("waitMs", waitMs, 0, 86_400_000);
    if (ending !== undefined && cause === undefined) return null;
    enter("handing out");
    signal?.throwIfAborted();
    const answer = deferred<Message<Body> | null>();
    let open = true;
    const close = (finish: () => void): void => {
      if (!open) return;
      open = false;
      finish();
    };
    const withdraw = handling.take((message) => {
      if (!open) return false;
      close(() => answer.resolve(message));
      return true;
    });
    const onAbort = (): void => close(() => answer.reject(signal?.reason));
    const onStop = (): void =>
      close(() => (cause === undefined ? answer.resolve(null) : answer.reject(cause)));
    signal?.addEventListener("abort", onAbort, { once: true });
    stopping.signal.addEventListener("abort", onStop, { once: true });
    const timer =
      waitMs === Infinity ? undefined : setTimeout(() => close(() => answer.resolve(null)), waitMs);
    begin();
    try {
      return await answer.promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      stopping.signal.removeEventListener("abort", onStop);
      withdraw();
    }
  }

  async function* iterate(): AsyncGenerator<Message<Body>, void, undefined> {
    for (;;) {
      const message = await next();
      if (message === null) return;
      let left = true;
      try {
        yield message;
        left = false;
      } finally {
        // Left with break, return or an exception: what was not settled shall not stay here unhandled.
        if (left) await message.nack().catch(() => {});
      }
    }
  }

  return {
    name,
    run<Transaction>(
      handler: (message: Message<Body>, transaction: Transaction) => unknown,
      { signal, session }: RunOptions & { session?: Session<Transaction> } = {},
    ) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- without a session the handler takes one argument, by its type
      const alone = handler as (message: Message<Body>) => unknown;
      const work =
        session === undefined
          ? { commits: false, run: alone }
          : inSession<Body, Transaction>(handler, session);
      return run(work, signal);
    },
    next,
    stop,
    trim: () => steps.trim(),
    [Symbol.asyncIterator]: iterate,
    [Symbol.asyncDispose]: () => stop(),
  };
}
