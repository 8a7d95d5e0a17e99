import type { BenchStore } from "./store.ts";
import { postgres } from "./stores/postgres.ts";

export const stores: readonly BenchStore[] = [postgres];

export function storeOf(name: string): BenchStore {
  const store = stores.find((each) => each.name === name);
  if (store === undefined)
    throw new Error(`--store must be one of ${stores.map((each) => each.name).join(", ")}, got ${name}`);
  return store;
}
