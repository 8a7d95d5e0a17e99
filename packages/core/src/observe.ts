import { Waiter } from "./acquire.ts";
import { sleep } from "./clock.ts";
import type { LeaderInfo } from "./election-api.ts";
import { isCoordError } from "./errors.ts";
import type { Keepers } from "./holding.ts";
import { readLeader } from "./presence.ts";
import { storedName } from "./validate.ts";

const firstPauseMs = 100;

interface Watched {
  readonly election: string;
  /** A leader is looked at so often at least: nothing wakes when a dead one lapses, or a new one is elected. */
  readonly everyMs: number;
  readonly report: (error: unknown) => void;
}

/** The leader now and at each change. Each iteration looks for itself, and leaves nothing behind. */
export function observeLeader(
  keepers: Keepers,
  watched: Watched,
  signal: AbortSignal | undefined,
): AsyncIterable<LeaderInfo | null> {
  return {
    [Symbol.asyncIterator]() {
      const left = new AbortController();
      const changes = leaderChanges(keepers, watched, signal, left);
      return {
        next: () => changes.next(),
        // The generator's own would wait for a change that may never come.
        return: () => {
          left.abort();
          return changes.return(undefined);
        },
      };
    },
  };
}

async function* leaderChanges(
  keepers: Keepers,
  { election, everyMs, report }: Watched,
  signal: AbortSignal | undefined,
  left: AbortController,
): AsyncGenerator<LeaderInfo | null, undefined> {
  const { host, background, namespace } = keepers;
  const over = left.signal;
  const end = (): void => left.abort();
  const ends = [signal, background.signal].filter((each) => each !== undefined);
  for (const each of ends) {
    if (each.aborted) end();
    each.addEventListener("abort", end, { once: true });
  }
  const waiter = new Waiter(keepers, storedName(namespace, "election", election));
  let seen: LeaderInfo | null | undefined;
  let pauseMs = firstPauseMs;
  try {
    while (!over.aborted) {
      let leader: LeaderInfo | null;
      try {
        await waiter.subscribe(over);
        leader = await readLeader(keepers, election, over);
      } catch (error) {
        if (over.aborted) return;
        if (!isCoordError(error, "COORD_UNAVAILABLE")) throw error;
        report(error);
        await sleep(host, pauseMs, over);
        pauseMs = Math.min(everyMs, pauseMs * 2);
        continue;
      }
      if (seen === undefined || leader?.fence !== seen?.fence) {
        pauseMs = firstPauseMs;
        yield leader;
      } else pauseMs = Math.min(everyMs, pauseMs * 2);
      seen = leader;
      await waiter.wait(leader === null ? pauseMs : leader.remainingMs, everyMs, over);
    }
  } finally {
    for (const each of ends) each.removeEventListener("abort", end);
    waiter.close();
  }
}
