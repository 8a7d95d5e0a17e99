/** What the conformance suite needs to know of this backend, on a server of the fixtures. */
import { join } from "node:path";
import { forkHolder } from "@coord/conformance";
import type { Harness, Misconfigured, Opened } from "@coord/conformance";
import type { Name } from "@coord/core";
import { startProxy } from "@coord/test-fixtures";
import { backendWith } from "../src/backend.ts";
import { type RedisStreamsBackend, redisStreamsBackend } from "../src/index.ts";
import { partition, partitionOf } from "../src/keys.ts";
import { compileScripts, type Scripts } from "../src/scripts.ts";
import { call, freshNamespace } from "./call.ts";
import { type startCluster, startRedis } from "./server.ts";

type Running = Awaited<ReturnType<typeof startRedis>>;

/** The ACL that the documentation lists. */
export const leastPrivilege =
  "~coord:{* -@all +evalsha +eval +ping +info +time +hmget +hget +hset +hsetnx +hincrby +del +exists +persist +pexpire +pexpireat +pexpiretime +zadd +zrem +zrange +zrangebylex +zrandmember +xadd +xread +wait";

/** Not the look at the namespace that comes before its first step. */
const isStep = (chunk: Buffer): boolean =>
  /eval(sha)?\r\n/.test(chunk.toString("latin1")) && !chunk.includes(":meta}");

const recordKey = ({ namespace, key }: Name, partitions: number): string =>
  `${partition(namespace, partitionOf(key, partitions)).records}${key}`;

async function misconfigured(): Promise<Misconfigured[]> {
  const evicting = await startRedis({ settings: { "maxmemory-policy": "allkeys-lru" } });
  const replica = await startRedis({ settings: {} });
  await replica.admin.replicaof("127.0.0.1", "1");
  return [
    { title: "a server that evicts", server: evicting },
    { title: "a replica", server: replica },
  ].map(({ title, server }) => {
    const backend = redisStreamsBackend({ url: server.url });
    const close = async (): Promise<void> => {
      await backend.close();
      await server[Symbol.asyncDispose]();
    };
    return { title, backend, close };
  });
}

export function redisHarness(server: Running, scripts: Scripts = compileScripts()): Harness {
  const { admin } = server;
  async function open(): Promise<Opened> {
    const namespace = freshNamespace();
    const proxy = await startProxy(server.url);
    const made: RedisStreamsBackend[] = [];
    const make = (url: string): RedisStreamsBackend => {
      const backend = backendWith({ url }, scripts);
      made.push(backend);
      return backend;
    };
    const backend = make(proxy.url);
    await backend.setup(call());
    // The server learns the scripts, so that the next write is the step itself.
    for (const { text } of Object.values(scripts)) await admin.script("LOAD", text);
    return {
      backend,
      namespace,
      second: async () => make(server.url),
      async close() {
        for (const one of made) await one.close();
        await proxy.stop();
        const left = await admin.keys(`coord:{${namespace}*`);
        if (left.length > 0) await admin.unlink(left);
      },
      swallowNextReply: () => void proxy.swallowReply({ match: isStep }),
      killConnections: async () => proxy.cut(),
      async cut() {
        await proxy.refuse();
        return () => proxy.heal();
      },
      ...(server.faults !== undefined && {
        async pause() {
          await server.faults?.pause();
          return async () => await server.faults?.resume();
        },
        restart: server.faults.restart,
      }),
      async writeFence(name, fence) {
        await admin.hset(recordKey(name, 1), "f", String(fence));
      },
      async deleteRecord(name) {
        await admin.del(recordKey(name, 1));
      },
      footprint: async () => (await admin.keys(`coord:{${namespace}:*`)).length,
      async unprivileged() {
        await admin.call("acl", "setuser", "least", "on", ">pw", ...leastPrivilege.split(" "));
        return make(server.url.replace("//", "//least:pw@"));
      },
      misconfigured,
      spawnHolder: (key, ttlMs) =>
        forkHolder(join(import.meta.dirname, "conformance-holder-child.ts"), {
          args: [server.url, "1", namespace, key, String(ttlMs)],
          execArgv: ["--conditions=source", "--import", "tsx"],
        }),
      singleConnection: async () => make(server.url),
      bare: async () => make(server.url),
    };
  }
  return {
    name: `redis-streams on ${server.version} (${server.provider})`,
    // The index, the layout, and while somebody waits a stream for each process and one line.
    declared: { footprint: 5 },
    open,
  };
}

export function clusterHarness(cluster: Awaited<ReturnType<typeof startCluster>>): Harness {
  const partitions = 8;
  return {
    name: `redis-streams on a cluster, ${cluster.version} (${cluster.provider})`,
    // Each has connections of its own to every node.
    concurrency: 5,
    async open() {
      const namespace = freshNamespace();
      const made: RedisStreamsBackend[] = [];
      const make = (): RedisStreamsBackend => {
        const backend = redisStreamsBackend({ url: cluster.clusterUrl, partitions });
        made.push(backend);
        return backend;
      };
      return {
        backend: make(),
        namespace,
        second: async () => make(),
        async close() {
          for (const one of made) await one.close();
        },
        spawnHolder: (key, ttlMs) =>
          forkHolder(join(import.meta.dirname, "conformance-holder-child.ts"), {
            args: [cluster.clusterUrl, String(partitions), namespace, key, String(ttlMs)],
            execArgv: ["--conditions=source", "--import", "tsx"],
          }),
        async writeFence(name, fence) {
          await cluster.admin.hset(recordKey(name, partitions), "f", String(fence));
        },
        async deleteRecord(name) {
          await cluster.admin.del(recordKey(name, partitions));
        },
      };
    },
  };
}
