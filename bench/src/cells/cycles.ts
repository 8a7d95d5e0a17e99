import { contendersOf } from "../contenders.ts";
import { freshNamespace, median } from "../row.ts";
import type { Effort, Row } from "../row.ts";
import type { BenchStore, Contender } from "../store.ts";

const keys = Array.from({ length: 64 }, (_, i) => `key:${i}`);

/** Cycles a second with `inFlight` at once, each on keys of its own. */
export async function rate(contender: Contender, inFlight: number, lastMs: number): Promise<number> {
  let cycles = 0;
  const began = performance.now();
  const worker = async (own: number): Promise<void> => {
    for (let i = own; performance.now() - began < lastMs; i += inFlight) {
      await contender.cycle(keys[i % keys.length] ?? "");
      cycles += 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, (_, i) => worker(i)));
  return (cycles / (performance.now() - began)) * 1000;
}

/**
 * Acquire and release without contention. All contenders have a turn in each round, so that they meet the same load,
 * and the ratio is the median of the rounds' own ratios.
 */
async function level(store: BenchStore, url: string, inFlight: number, effort: Effort): Promise<Row[]> {
  const bare = await store.bare?.(url, inFlight, keys);
  const coordAndPeers = await contendersOf(store, url, inFlight, freshNamespace());
  const contenders = [...(bare === undefined ? [] : [bare]), ...coordAndPeers];
  const rates = contenders.map((): number[] => []);
  try {
    for (let round = 0; round <= effort.rounds; round += 1) {
      for (const [i, each] of contenders.entries()) {
        const measured = await rate(each, inFlight, effort.turnMs);
        if (round > 0) rates[i]?.push(measured); // The first round warms up.
      }
    }
  } finally {
    await Promise.all(contenders.map((each) => each.close()));
  }
  const [first = []] = rates;
  const aim = store.aims.cycles?.[inFlight === 1 ? 0 : 1];
  return contenders.map((each, i): Row => {
    const own = rates[i] ?? [];
    const ratios = own.map((value, round) => value / (first[round] ?? NaN));
    const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)} by round`;
    return {
      cell: `acquire + release, ${inFlight === 1 ? "one after the other" : `${inFlight} at once`}`,
      who: each.name,
      measured: `${Math.round(median(own))} cycles/s`,
      ...(bare !== undefined && { ratio: median(ratios) }),
      ...(each.name === "coord" && aim !== undefined && { aim: `ratio ≥ ${aim}` }),
      note: each === bare ? store.bareText : spread,
    };
  });
}

export const cycles = async (store: BenchStore, url: string, effort: Effort): Promise<Row[]> => [
  ...(await level(store, url, 1, effort)),
  ...(await level(store, url, store.inFlight, effort)),
];
