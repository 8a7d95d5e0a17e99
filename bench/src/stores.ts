import type { BenchStore } from "./store.ts";
import { gcs } from "./stores/gcs.ts";
import { mongodb } from "./stores/mongodb.ts";
import { mariadbStore, mysqlStore } from "./stores/mysql.ts";
import { postgres } from "./stores/postgres.ts";
import { redis } from "./stores/redis.ts";

export const stores: readonly BenchStore[] = [postgres, mysqlStore, mariadbStore, redis, mongodb, gcs];

export function storeOf(name: string): BenchStore {
  const store = stores.find((each) => each.name === name);
  if (store === undefined)
    throw new Error(`--store must be one of ${stores.map((each) => each.name).join(", ")}, got ${name}`);
  return store;
}
