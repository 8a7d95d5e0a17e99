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

/** What the benchmark needs of one store. */
export interface BenchStore {
  readonly name: string;
  /** What `bare` does, for the table. */
  readonly bareText: string;
  start(): Promise<{ readonly url: string; readonly version: string; stop(): Promise<void> }>;
  backend(url: string, connections: number): Promise<{ readonly backend: Backend; close(): Promise<void> }>;
  bare(url: string, connections: number, keys: readonly string[]): Promise<Contender>;
  peers(url: string, connections: number): Promise<Contender[]>;
  /** Puts `count` released lease records into the store, quickly. */
  fill?(url: string, count: number): Promise<void>;
}
