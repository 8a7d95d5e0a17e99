import { longestTimerMs, pause } from "./clock.ts";
import type { Host } from "./clock.ts";
import type { Term, TermEnd } from "./election-api.ts";
import { isCoordError } from "./errors.ts";
import type { Holding } from "./holding.ts";

/** A term and what its election knows of it. */
export interface OpenTerm {
  readonly term: Term;
  /** Why it ended; `undefined` while it lasts. */
  readonly end: TermEnd | undefined;
  /** The first reason stands. */
  readonly close: (end: TermEnd) => void;
  /** Resolves when it has ended. A leader keeps its process up: renewals alone would not. */
  readonly over: Promise<void>;
  /** Whether an error says no more than that the term is over. */
  readonly excuses: (error: unknown) => boolean;
}

/** A term on a lease that is held now, until that is lost, `stop` aborts or it is closed. */
export function openTerm(host: Host, election: string, holding: Holding, stop: AbortSignal): OpenTerm {
  const { grant } = holding.granted;
  const { signal: lost } = holding;
  const ended = new AbortController();
  const { signal } = ended;
  let end: TermEnd | undefined;

  function close(why: TermEnd): void {
    if (end !== undefined) return;
    end = why;
    lost.removeEventListener("abort", onLost);
    stop.removeEventListener("abort", onStop);
    ended.abort(lost.aborted ? lost.reason : new Error(`The term of "${election}" ended: ${why}.`));
  }
  const onLost = (): void => close("lost");
  const onStop = (): void => close("stopped");
  lost.addEventListener("abort", onLost, { once: true });
  stop.addEventListener("abort", onStop, { once: true });
  if (stop.aborted) close("stopped");

  const term: Term = {
    key: election,
    fence: grant.fence,
    grant,
    since: new Date(host.wallMs()),
    get signal() {
      look();
      return signal;
    },
  };
  /** Its deadline may have passed without a timer having had its turn; looking at the clock tells. */
  const look = (): boolean => holding.state === "held";

  return {
    term,
    get end() {
      look();
      return end;
    },
    close,
    over: untilAborted(host, signal),
    excuses: (error) =>
      term.signal.aborted &&
      (error === signal.reason ||
        (error instanceof Error && (error.name === "AbortError" || error.cause === signal.reason)) ||
        isCoordError(error, "COORD_LEASE_LOST")),
  };
}

async function untilAborted(host: Host, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) await pause(host, longestTimerMs, signal).over;
}
