/** One line of the figures. */
export interface Row {
  readonly cell: string;
  readonly who: string;
  readonly measured: string;
  /** Cycles of it for each cycle of the bare statements, measured side by side; 1 = as fast. */
  readonly ratio?: number;
  readonly aim?: string;
  readonly note?: string;
}

/** How long and how often a cell measures. */
export interface Effort {
  readonly quick: boolean;
  /** Turns of one contender's measurement, in `cycles`. */
  readonly turnMs: number;
  readonly rounds: number;
  readonly relayMs: number;
  readonly renewalMs: number;
  readonly idleMs: number;
  readonly namesMs: number;
}

export const quick: Effort = {
  quick: true,
  turnMs: 250,
  rounds: 5,
  relayMs: 3000,
  renewalMs: 10_000,
  idleMs: 10_000,
  namesMs: 1000,
};
export const full: Effort = {
  quick: false,
  turnMs: 1000,
  rounds: 7,
  relayMs: 15_000,
  renewalMs: 30_000,
  idleMs: 30_000,
  namesMs: 3000,
};

export const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** Milliseconds since 1970 by the monotonic clock, comparable between processes of one machine. */
export const at = (): number => performance.timeOrigin + performance.now();

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

let namespaces = 0;
export const freshNamespace = (): string => `bench_${process.pid}_${(namespaces += 1)}`;
