/** Repeatable chance: the same seed and stream give the same numbers. */
export interface Random {
  /** From 0 to 1, 1 excluded. */
  next(): number;
  /** A whole number, both ends included. */
  int(min: number, max: number): number;
  range(min: number, max: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly [T, ...T[]]): T;
}

const mix = (hash: number, value: number): number => {
  const mixed = Math.imul(hash ^ value, 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
};

/**
 * Streams are independent, so that dropping one fault or action leaves the chance of all others as it was:
 * that is what makes a failing run shrink well.
 */
export function createRandom(seed: number, stream: string, index = 0): Random {
  let state = mix(mix(0x51ed270b, seed | 0), Math.floor(seed / 0x100000000));
  for (let i = 0; i < stream.length; i += 1) state = mix(state, stream.charCodeAt(i));
  state = mix(state, index);
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 0x100000000;
  };
  return {
    next,
    int: (min, max) => min + Math.floor(next() * (max - min + 1)),
    range: (min, max) => min + next() * (max - min),
    chance: (probability) => next() < probability,
    pick: (items) => items[Math.floor(next() * items.length)] ?? items[0],
  };
}
