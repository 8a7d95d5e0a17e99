import type { Backend } from "@coord/core";

/** A lock library, or the bare statements, as one cycle on one key. */
export interface Contender {
  readonly name: string;
  /** Acquires and releases `key` once, nobody else wanting it. */
  cycle(key: string): Promise<void>;
  /** Acquires `key` with waiting, runs `work`, releases; absent where it can't wait. */
  under?(key: string, work: () => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

export interface BenchServer {
  readonly url: string;
  readonly version: string;
  stop(): Promise<void>;
}

export interface Opened {
  readonly backend: Backend;
  close(): Promise<void>;
}

/** What `coord` should reach; `figures` shows it beside what was measured. */
export interface Aims {
  /** Cycles of coord for each cycle of the bare statements, at least, one after the other and many at once. */
  readonly cycles?: readonly [oneByOne: number, manyAtOnce: number];
  /** Milliseconds from a release to the next grant, at most. */
  readonly handOff?: { readonly p50Ms?: number; readonly p99Ms?: number };
  /** Requests in two seconds of one who waits while nothing happens, fewer than. */
  readonly idle?: number;
  /** Milliseconds for 20 contenders with 10 ms of work each, at most. */
  readonly crowd?: { readonly oneProcessMs: number; readonly manyProcessesMs: number };
}

/** What the benchmark needs of one store. */
export interface BenchStore {
  readonly name: string;
  readonly title: string;
  readonly aims: Aims;
  start(): Promise<BenchServer>;
  backend(url: string, connections: number): Promise<Opened>;
  /** The cells that make sense here; in this order. */
  readonly cells: readonly string[];
  /** How many cycles are in flight at once in the second row of `cycles`. */
  readonly inFlight: number;
  /** What `bare` does, for the table. */
  readonly bareText: string;
  bare?(url: string, connections: number, keys: readonly string[]): Promise<Contender>;
  peers?(url: string, connections: number): Promise<Contender[]>;
  /** Puts released lease records into the store, quickly, until there are `count` in the namespace `fill`. */
  fill?(url: string, count: number): Promise<void>;
  /** The most names that `fill` can put there in a minute. */
  readonly mostNames: number;
  /** How many leases `renewal` keeps; what takes longer to acquire than to measure is left out. */
  readonly renewals: { readonly quick: number; readonly full: number };
}
