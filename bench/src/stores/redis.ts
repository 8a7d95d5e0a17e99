import { redisStreamsBackend } from "@coord/redis-streams";
import { start } from "@coord/test-fixtures";
import { Redis } from "ioredis";
import type { BenchStore } from "../store.ts";
import { redisPeers } from "./redis-peers.ts";
import { fillKey, fillNamespace, leaveReleasedRecord } from "./released-record.ts";

const compareDelete = `if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('DEL',KEYS[1]) end return 0`;

/** Copies of one record under other names, and their places in the index. */
const copyRecord = `
for i=tonumber(ARGV[2]),tonumber(ARGV[3]) do
  local name='l\\31fill:'..i
  redis.call('COPY',KEYS[1],ARGV[1]..'l:'..name)
  redis.call('ZADD',KEYS[2],0,name)
end`;

export const redis: BenchStore = {
  name: "redis",
  title: "Redis",
  cells: ["cycles", "handOff", "crowd", "idle", "renewal", "names"],
  aims: {
    cycles: [0.65, 0.65],
    handOff: { p99Ms: 5 },
    crowd: { oneProcessMs: 215, manyProcessesMs: 260 },
    idle: 1,
  },
  inFlight: 64,
  bareText: "SET NX PX, then a script that compares and deletes",
  mostNames: 1_000_000,
  renewals: { quick: 10_000, full: 10_000 },
  start: () => start("redis"),
  async backend(url) {
    return { backend: redisStreamsBackend({ url }), close: async () => {} };
  },
  async bare(url) {
    const client = new Redis(url);
    const sha = String(await client.script("LOAD", compareDelete));
    let tokens = 0;
    return {
      name: "bare commands",
      async cycle(key) {
        const token = `${process.pid}:${(tokens += 1)}`;
        if ((await client.set(`bare:${key}`, token, "PX", 30_000, "NX")) !== "OK") throw new Error("taken");
        await client.evalsha(sha, 1, `bare:${key}`, token);
      },
      close: async () => void (await client.quit()),
    };
  },
  peers: redisPeers,
  async fill(url, count) {
    await leaveReleasedRecord(redisStreamsBackend({ url }));
    const client = new Redis(url);
    const prefix = `coord:{${fillNamespace}:0}:`;
    for (let from = 1; from < count; from += 10_000) {
      const to = Math.min(from + 9999, count - 1);
      await client.eval(copyRecord, 2, `${prefix}l:${fillKey(0)}`, `${prefix}idx`, prefix, from, to);
    }
    await client.quit();
  },
};
