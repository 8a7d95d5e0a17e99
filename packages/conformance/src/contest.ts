import type { Coordinator, Election, ElectionOptions, Term } from "@coord/core";
import type { Context } from "./context.ts";
import { pairOf } from "./coordinated.ts";
import type { Pair } from "./coordinated.ts";

/** The candidates of a case, and the terms in the order in which they began. */
export interface Contest extends Pair {
  readonly terms: readonly Term[];
  /** How often a term began while another's signal had not aborted. */
  readonly overlaps: number;
  readonly stand: (coordinator: Coordinator, options?: ElectionOptions & { name?: string }) => Election;
  readonly leads: (election: Election, limitMs?: number) => Promise<boolean>;
}

/** Plays, and lets time pass until all candidates have stopped. */
export async function contest(context: Context, play: (contest: Contest) => Promise<void>): Promise<void> {
  const pair = await pairOf(context);
  const candidates: Election[] = [];
  const terms: Term[] = [];
  let overlaps = 0;
  const began = (term: Term): void => {
    overlaps += terms.filter(({ signal }) => !signal.aborted).length;
    terms.push(term);
  };
  try {
    await play({
      ...pair,
      terms,
      get overlaps() {
        return overlaps;
      },
      stand(coordinator, { name = "job", onElected, ...options } = {}) {
        const elected = (term: Term): Promise<void> | void => {
          began(term);
          return onElected?.(term);
        };
        const election = coordinator.elect(name, { ...options, onElected: elected }).start();
        candidates.push(election);
        return election;
      },
      leads: (election, limitMs = 2 * pair.ttlMs) =>
        context.untilElapsed("a candidate leads", () => election.isLeader, limitMs),
    });
  } finally {
    const stopped = Promise.all(candidates.map(async (election) => await election.stop()));
    await context.during("all candidates stop", stopped, 4 * pair.ttlMs).catch(() => {});
  }
}
