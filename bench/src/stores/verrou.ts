import { Verrou } from "@verrou/core";
import { knexStore } from "@verrou/core/drivers/knex";
import { redisStore } from "@verrou/core/drivers/redis";
import type { Redis } from "ioredis";
import type { Knex } from "knex";
import type { Contender } from "../store.ts";

type Lock = ReturnType<Verrou<Record<string, never>>["createLock"]>;

const contender = (
  name: string,
  lockOf: (key: string) => Lock,
  close: () => Promise<unknown>,
): Contender => ({
  name,
  async cycle(key) {
    const lock = lockOf(key);
    if (!(await lock.acquire())) throw new Error("not acquired");
    await lock.release();
  },
  under: async (key, work) => void (await lockOf(key).run(work)),
  close: async () => void (await close()),
});

export function verrouOnKnex(connection: Knex): Contender {
  const verrou = new Verrou({ default: "knex", stores: { knex: { driver: knexStore({ connection }) } } });
  const lockOf = (key: string) => verrou.createLock(key, 30_000);
  return contender("@verrou/core (Knex)", lockOf, () => connection.destroy());
}

export function verrouOnRedis(connection: Redis): Contender {
  const verrou = new Verrou({ default: "redis", stores: { redis: { driver: redisStore({ connection }) } } });
  const lockOf = (key: string) => verrou.createLock(key, 30_000);
  return contender("@verrou/core", lockOf, () => connection.quit());
}
