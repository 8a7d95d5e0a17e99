import { obtain, Waiter } from "./acquire.ts";
import { sleep, waitUpTo } from "./clock.ts";
import type { CandidateInfo, Election, ElectionOptions, LeaderInfo, Term, TermEnd } from "./election-api.ts";
import { InvalidArgumentError } from "./errors.ts";
import { electionEvent } from "./events.ts";
import type { ElectionEvent } from "./events.ts";
import type { Holding, Keepers } from "./holding.ts";
import { show } from "./json.ts";
import { encodeLeader, encodeStatus, readCandidates, readLeader, showPresence } from "./presence.ts";
import {
  checkHolder,
  checkKey,
  checkMs,
  checkOptions,
  checkTtl,
  limits,
  maxKeyBytes,
  storedName,
} from "./validate.ts";

const firstPauseMs = 100;
const stuckMs = 60_000;
/** What a candidate's id and its separator take of a key. */
const candidateBytes = 23;
/** The record of an election is kept: there are few, and its fence is the count of terms. */
const ending = { sealed: false, retainMs: null };
const callbacks = ["onElected", "onLost", "onCycle", "onError"] as const;

interface Checked {
  readonly name: string;
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly holder: string;
  readonly statusText: string | undefined;
}

function check(
  keepers: Keepers,
  name: string,
  options: ElectionOptions,
  defaults: { ttlMs: number; holder: string },
): Checked {
  checkOptions(options, ["ttlMs", "status", "graceMs", "holder", ...callbacks]);
  checkKey(name, "election name");
  for (const callback of callbacks) {
    const given: unknown = options[callback];
    if (given === undefined || typeof given === "function") continue;
    throw new InvalidArgumentError(
      `${callback} must be a function, got ${show(given)}. Pass (term) => { … }.`,
    );
  }
  if (options.status !== undefined && Buffer.byteLength(name) > maxKeyBytes - candidateBytes) {
    throw new InvalidArgumentError(
      `election name must have at most ${maxKeyBytes - candidateBytes} bytes where a status is given, got ${show(name)}. Hash the long part.`,
    );
  }
  return {
    name,
    ttlMs: checkTtl(options.ttlMs ?? defaults.ttlMs, keepers.backend.info),
    graceMs: checkMs("graceMs", options.graceMs ?? 10_000, { min: 0, max: 86_400_000 }),
    holder: checkHolder(options.holder ?? defaults.holder),
    statusText: options.status === undefined ? undefined : encodeStatus(options.status),
  };
}

/** A term while it lasts. */
interface Leading {
  readonly term: Term;
  readonly holding: Holding;
  /** Ends the term by its leader's own will; the first reason stands. */
  end(reason: TermEnd): void;
  /** Resolves when the lease was given up, with whether `onElected` had settled by then. */
  readonly left: Promise<boolean>;
}

/** An election on leases: candidates wait for one lease, whose fence is the term. */
export function createElection(
  keepers: Keepers,
  name: string,
  options: ElectionOptions,
  defaults: { ttlMs: number; holder: string },
  /** Counts it as running, so that a close stops it and waits. */
  running: { add(election: Election): void; delete(election: Election): void },
): Election {
  const { host } = keepers;
  const { ttlMs, graceMs, holder, statusText } = check(keepers, name, options, defaults);
  const id = host.randomId();
  let stopping: AbortController | undefined;
  let leading: Leading | undefined;
  let finished: Promise<void> = Promise.resolve();
  let failures = 0;

  const tell = (event: ElectionEvent["event"], more: Partial<ElectionEvent> = {}): void =>
    electionEvent({
      backend: keepers.backend.info.name,
      namespace: keepers.namespace,
      election: name,
      holder,
      event,
      ...more,
    });

  function report(error: unknown): void {
    tell("error", { error });
    try {
      options.onError?.(error);
    } catch (second) {
      tell("error", { error: second });
    }
  }

  /** Runs a callback of the user's; what it throws is told, and answered as false. */
  async function guarded(run: (() => Promise<void> | void) | undefined): Promise<boolean> {
    try {
      await run?.();
      return true;
    } catch (error) {
      report(error);
      return false;
    }
  }

  async function lead(holding: Holding): Promise<void> {
    const ended = new AbortController();
    const { signal: lost } = holding;
    let reason: TermEnd = "lost";
    const end = (why: TermEnd): void => {
      if (ended.signal.aborted) return;
      reason = why;
      ended.abort(lost.aborted ? lost.reason : new Error(`The term of "${name}" ended: ${why}.`));
    };
    const onLost = (): void => end("lost");
    lost.addEventListener("abort", onLost, { once: true });
    const { fence } = holding.granted.grant;
    const term: Term = { fence, since: new Date(host.wallMs()), signal: ended.signal };
    tell("elected", { fence });
    const work = guarded(() => options.onElected?.(term)).then((went) => {
      failures = went ? 0 : failures + 1;
      if (!went) end("failed");
    });
    const left = aborted(ended.signal).then(async () => {
      // Still renewed while the work settles: nobody else begins before it has.
      const settled = await settledWithin(work, graceMs);
      if (settled && holding.state === "held") await holding.release(ending).catch(report);
      else if (!settled) holding.leave("lapsing");
      lost.removeEventListener("abort", onLost);
      tell(reason, { fence });
      return settled;
    });
    leading = { term, holding, end, left };
    // It stands again only when nothing of this term goes on.
    for (let settled = await left; !settled; settled = await settledWithin(work, stuckMs))
      tell("stuck", { fence });
    leading = undefined;
    await guarded(() => options.onLost?.(term, reason));
  }

  async function settledWithin(work: Promise<void>, limitMs: number): Promise<boolean> {
    let settled = false;
    const done = work.then(() => void (settled = true));
    await waitUpTo(host, limitMs, done);
    return settled;
  }

  async function stand(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        tell("standing");
        const spec = { kind: "election", key: name, holder, ttlMs, waitMs: Infinity, sealed: false } as const;
        const obtained = await obtain(keepers, {
          ...spec,
          payload: encodeLeader(id),
          retainMs: null,
          signal,
        });
        if (obtained.holding !== undefined) await lead(obtained.holding);
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        report(error);
      }
      const longestMs = Math.min(ttlMs, firstPauseMs * 2 ** Math.min(failures, 20));
      await sleep(host, longestMs * (0.5 + host.random() / 2), signal);
    }
  }

  /** Keeps the candidate listed; that it can't be is no reason not to stand. */
  async function present(signal: AbortSignal): Promise<void> {
    if (statusText === undefined) return;
    const standing = { election: name, id, holder, ttlMs, statusText, since: host.wallMs() };
    while (!signal.aborted) {
      try {
        const presence = await showPresence(keepers, standing, signal);
        if (presence !== undefined) {
          await Promise.race([aborted(signal), aborted(presence.signal)]);
          if (presence.state === "held")
            await presence.release({ sealed: false, retainMs: limits.minRetainMs });
        }
      } catch (error) {
        if (signal.aborted) return;
        report(error);
      }
      await sleep(host, ttlMs / 3, signal);
    }
  }

  async function cycle(signal: AbortSignal): Promise<void> {
    while (options.onCycle !== undefined && !signal.aborted) {
      await guarded(() => options.onCycle?.(election));
      await sleep(host, ttlMs / 3, signal);
    }
  }

  const election: Election = {
    name,
    start() {
      if (stopping !== undefined) return election;
      const controller = new AbortController();
      stopping = controller;
      running.add(election);
      const { signal } = controller;
      finished = Promise.all([stand(signal), present(signal), cycle(signal)]).then(() => {
        stopping = undefined;
        running.delete(election);
        tell("stopped");
      });
      return election;
    },
    async stop() {
      const current = leading;
      current?.end("stopped");
      stopping?.abort(new Error(`The election "${name}" was stopped.`));
      // What has not settled by now is told as stuck; `done` waits for it.
      if ((await current?.left) !== false) await finished;
    },
    async resign() {
      const current = leading;
      current?.end("resigned");
      await current?.left;
    },
    get done() {
      return finished;
    },
    get isLeader() {
      return leading !== undefined && !leading.term.signal.aborted && leading.holding.state === "held";
    },
    get running() {
      return stopping !== undefined && !stopping.signal.aborted;
    },
    get term() {
      return election.isLeader ? leading?.term : undefined;
    },
    leader: () => readLeader(keepers, name),
    candidates: (): Promise<CandidateInfo[]> => readCandidates(keepers, name),
    async *observe({ signal } = {}) {
      const waiter = new Waiter(keepers, storedName(keepers.namespace, "election", name));
      let last: LeaderInfo | null | undefined;
      try {
        while (!signal?.aborted) {
          await waiter.subscribe(signal);
          const next = await readLeader(keepers, name);
          if (last === undefined || next?.fence !== last?.fence) yield next;
          last = next;
          // A grant wakes nobody: a new leader is seen by the next look.
          await waiter.wait(next === null ? firstPauseMs : ttlMs / 3, ttlMs / 3, signal);
        }
      } finally {
        waiter.close();
      }
    },
    [Symbol.asyncDispose]: () => election.stop(),
  };
  return election;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
