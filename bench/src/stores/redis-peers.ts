import { EventEmitter } from "node:events";
import { Redis } from "ioredis";
import { Redisson, TimeUnit } from "node-redisson";
import { Mutex } from "redis-semaphore";
import Redlock from "redlock";
import { createLock, IoredisAdapter } from "redlock-universal";
import type { Contender } from "../store.ts";
import { verrouOnRedis } from "./verrou.ts";

const ttlMs = 30_000;
/** As good as for ever, where a library counts its tries. */
const manyTries = 1_000_000;

function redlock(url: string): Contender {
  const client = new Redis(url);
  const locks = new Redlock([client], { retryCount: manyTries });
  const under = async (key: string, work: () => Promise<void>): Promise<void> => {
    const lock = await locks.lock(`redlock:${key}`, ttlMs);
    await work();
    await lock.unlock();
  };
  return {
    name: "redlock",
    cycle: (key) => under(key, async () => {}),
    under,
    close: async () => void (await client.quit()),
  };
}

function redisSemaphore(url: string): Contender {
  const client = new Redis(url);
  const mutexOf = (key: string): Mutex =>
    new Mutex(client, `semaphore:${key}`, { lockTimeout: ttlMs, acquireTimeout: 120_000 });
  const under = async (key: string, work: () => Promise<void>): Promise<void> => {
    const mutex = mutexOf(key);
    await mutex.acquire();
    await work();
    await mutex.release();
  };
  return {
    name: "redis-semaphore",
    cycle: (key) => under(key, async () => {}),
    under,
    close: async () => void (await client.quit()),
  };
}

function nodeRedisson(url: string): Contender {
  const { hostname, port } = new URL(url);
  const options = { host: hostname, port: Number(port), retryStrategy: () => null };
  const redisson = new Redisson({ redis: { options } });
  const under = async (key: string, work: () => Promise<void>): Promise<void> => {
    const lock = redisson.getLock(`redisson:${key}`);
    await lock.lock(BigInt(ttlMs), TimeUnit.MILLISECONDS);
    await work();
    await lock.unlock();
  };
  return {
    name: "node-redisson",
    cycle: (key) => under(key, async () => {}),
    under,
    // For half a minute after a wait its timers use the connection, and reject where nobody hears if it has ended.
    close: async () => {},
  };
}

function redlockUniversal(url: string): Contender {
  const client = new Redis(url);
  const adapter = new IoredisAdapter(client);
  const lockOf = (key: string) =>
    createLock({ adapter, key: `universal:${key}`, ttl: ttlMs, retryAttempts: manyTries });
  const under = async (key: string, work: () => Promise<void>): Promise<void> => {
    const lock = lockOf(key);
    const handle = await lock.acquire();
    await work();
    await lock.release(handle);
  };
  return {
    name: "redlock-universal",
    cycle: (key) => under(key, async () => {}),
    under,
    close: async () => void (await client.quit()),
  };
}

// 20 waiters of node-redisson are 20 listeners of one emitter, and each more than ten would be a warning.
EventEmitter.defaultMaxListeners = 100;

/** With their own defaults, but for how long they go on trying. */
export async function redisPeers(url: string): Promise<Contender[]> {
  return [
    redlock(url),
    redisSemaphore(url),
    nodeRedisson(url),
    redlockUniversal(url),
    verrouOnRedis(new Redis(url)),
  ];
}
