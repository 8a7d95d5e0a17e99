import { obtain } from "./acquire.ts";
import { createCallbacks, stuckMs } from "./callbacks.ts";
import { longestTimerMs, pause, sleep, waitUpTo } from "./clock.ts";
import type { Election, ElectionOptions, TermEnd } from "./election-api.ts";
import { electionEvent } from "./events.ts";
import type { ElectionEvent } from "./events.ts";
import type { Holding, Keepers } from "./holding.ts";
import { checkElection } from "./election-options.ts";
import type { ElectionDefaults } from "./election-options.ts";
import { observeLeader } from "./observe.ts";
import { encodeLeader, keepPresence, readCandidates, readLeader } from "./presence.ts";
import { openTerm } from "./term.ts";
import type { OpenTerm } from "./term.ts";
import { checkOptions, checkSignal } from "./validate.ts";

const firstPauseMs = 100;
/** After a resignation, those who wait by polling must have had their turn: so many of their pauses. */
const politePolls = 3;
const defaultPollMs = 100;
/** A store that does not answer is told of so often at the most. */
const tellEveryMs = 10_000;
/** How long the record of an election is kept when nobody stands any more; fences go on rising without it. */
const retainMs = 86_400_000;
const ending = { sealed: false, retainMs };

/** What an election needs of its coordinator. */
export interface Office {
  /** Counts it as running, so that a close stops it and waits; throws `COORD_CLOSED`. */
  add(election: Election): void;
  delete(election: Election): void;
  /** Throws while this host's clock and the store's are too far apart to acquire anything. */
  readonly checkOffset?: (() => Promise<void>) | undefined;
}

/** From a start to the stop after it. */
interface Run {
  readonly stopping: AbortController;
  /** Resolves when neither the lease nor the presence is kept any more; callbacks may go on. */
  readonly given: Promise<void>;
  /** Resolves when nothing of it goes on. */
  readonly finished: Promise<void>;
}

/** A term, and when its lease was given up: with true if `onElected` had settled by then. */
interface Leading {
  readonly open: OpenTerm;
  readonly left: Promise<boolean>;
}

/** An election on leases: candidates wait for one lease, whose fence is the term. */
export function createElection(
  keepers: Keepers,
  name: string,
  options: ElectionOptions,
  defaults: ElectionDefaults,
  office: Office,
): Election {
  const { host, clock, backend, namespace } = keepers;
  const { onElected, onLost, onCycle, ...checked } = checkElection(backend.info, name, options, defaults);
  const { ttlMs, graceMs, holder, statusText } = checked;
  const id = host.randomId();
  const politeMs = politePolls * (backend.info.pollMs ?? defaultPollMs);

  const tell = (event: ElectionEvent["event"], more: Partial<ElectionEvent> = {}): void =>
    electionEvent({ backend: backend.info.name, namespace, election: name, holder, event, ...more });
  const callbacks = createCallbacks(host, name, checked.onError, tell);
  const { report } = callbacks;

  let current: Run | undefined;
  let again = false;
  let done: Promise<void> = Promise.resolve();
  let leading: Leading | undefined;
  /** How often in a row `onElected` threw, and how often in a row it could not stand. */
  let thrown = 0;
  let refused = 0;
  let toldAt = -Infinity;

  /** Many requests fail while a store is down; one error at a time says so. */
  function reportFailure(error: unknown): void {
    if (clock.now() - toldAt < tellEveryMs) return;
    toldAt = clock.now();
    report(error);
  }

  /** Leads until the term is over and everything of it has settled; answers why it ended. */
  async function lead(
    holding: Holding,
    stop: AbortSignal,
    gone: AbortController,
  ): Promise<TermEnd | undefined> {
    // Stopped, or its time was over, before anything was done under it.
    if (stop.aborted) await holding.release(ending).catch(report);
    if (holding.state !== "held") return undefined;
    const open = openTerm(host, name, holding, stop);
    const { term } = open;
    const { fence } = term;
    const left = open.over.then(async () => {
      if (open.end === "lost") tell("lost", { fence });
      // Still renewed while the work settles: nobody else begins before it has.
      const settled = await settledWithin(work, graceMs);
      if (!settled) holding.leave("lapsing");
      else if (holding.state === "held") await holding.release(ending).catch(report);
      if (open.end !== "lost") tell(open.end ?? "lost", { fence });
      return settled;
    });
    leading = { open, left };
    tell("elected", { fence });
    const work = callbacks
      .run(() => onElected?.(term), open.excuses)
      .then((went) => {
        thrown = went ? 0 : thrown + 1;
        if (!went) open.close("failed");
      });
    const settled = await left;
    const giveUp = (): void => gone.abort();
    if (stop.aborted) giveUp();
    stop.addEventListener("abort", giveUp, { once: true });
    if (!settled) callbacks.watch("onElected", work, 0);
    await work;
    leading = undefined;
    const lost = callbacks.run(() => onLost?.(term, open.end ?? "lost"));
    callbacks.watch("onLost", lost, stuckMs);
    await lost;
    stop.removeEventListener("abort", giveUp);
    return open.end;
  }

  async function settledWithin(work: Promise<unknown>, limitMs: number): Promise<boolean> {
    let settled = false;
    const settling = work.then(() => {
      settled = true;
    });
    await waitUpTo(host, limitMs, settling);
    return settled;
  }

  async function stand(stop: AbortSignal, gone: AbortController): Promise<void> {
    while (!stop.aborted) {
      let end: TermEnd | undefined;
      try {
        tell("standing");
        await checkOffset(stop);
        const spec = { kind: "election", key: name, holder, ttlMs, waitMs: Infinity, sealed: false } as const;
        const payload = encodeLeader(id);
        const handling = { signal: stop, onFailure: reportFailure };
        const { holding } = await obtain(keepers, { ...spec, ...handling, payload, retainMs });
        refused = 0;
        if (holding !== undefined) end = await lead(holding, stop, gone);
      } catch (error) {
        if (stop.aborted) break;
        refused += 1;
        reportFailure(error);
      }
      const shortestMs = end === "resigned" ? politeMs : firstPauseMs;
      const pauseMs = Math.min(ttlMs, shortestMs * 2 ** Math.min(20, thrown + refused));
      await sleep(host, pauseMs * (0.5 + host.random() / 2), stop);
    }
    gone.abort();
  }

  async function checkOffset(stop: AbortSignal): Promise<void> {
    if (office.checkOffset === undefined) return;
    const stopped = pause(host, longestTimerMs, stop);
    await Promise.race([office.checkOffset(), stopped.over]).finally(stopped.end);
  }

  async function cycle(stop: AbortSignal): Promise<void> {
    if (onCycle === undefined) return;
    while (!stop.aborted) {
      const cycled = callbacks.run(() => onCycle(election));
      callbacks.watch("onCycle", cycled, stuckMs);
      await cycled;
      const until = clock.now() + ttlMs / 3;
      while (!stop.aborted && clock.now() < until) await sleep(host, until - clock.now(), stop);
    }
  }

  function begin(): Run {
    const stopping = new AbortController();
    const { signal } = stopping;
    const gone = new AbortController();
    // Events and callbacks of a run come after its start has returned.
    const begun = Promise.resolve();
    const given = begun.then(() =>
      statusText === undefined
        ? untilAborted(gone.signal)
        : keepPresence(
            keepers,
            { election: name, id, holder, ttlMs, statusText, report: reportFailure },
            gone.signal,
          ),
    );
    const all = begun.then(() => Promise.all([stand(signal, gone), given, cycle(signal)]));
    return { stopping, given, finished: all.then(() => tell("stopped")) };
  }

  async function live(): Promise<void> {
    do {
      again = false;
      current = begin();
      await current.finished;
    } while (again);
    current = undefined;
    office.delete(election);
  }

  const election: Election = {
    name,
    id,
    start() {
      office.add(election);
      if (current === undefined) done = live();
      else if (current.stopping.signal.aborted) again = true;
      return election;
    },
    async stop() {
      again = false;
      if (current === undefined) return;
      const { stopping, given, finished } = current;
      const until = clock.now() + graceMs;
      stopping.abort(new Error(`The election "${name}" was stopped.`));
      if (callbacks.within()) return;
      await given;
      await waitUpTo(host, Math.max(0, until - clock.now()), finished);
    },
    async resign() {
      const own = leading;
      own?.open.close("resigned");
      if (!callbacks.within()) await own?.left;
    },
    get done() {
      return done;
    },
    get isLeader() {
      return election.term !== undefined;
    },
    get running() {
      return current !== undefined && (again || !current.stopping.signal.aborted);
    },
    get term() {
      const term = leading?.open.term;
      return term?.signal.aborted ? undefined : term;
    },
    leader: () => readLeader(keepers, name),
    candidates: () => readCandidates(keepers, name),
    observe(given = {}) {
      checkOptions(given, ["signal"]);
      const watched = { election: name, everyMs: ttlMs / 3, report };
      return observeLeader(keepers, watched, checkSignal(given.signal));
    },
    [Symbol.asyncDispose]: () => election.stop(),
  };
  return election;
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
