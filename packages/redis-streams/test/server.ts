import { type RedisOptions, start, startProxy } from "@coord/test-fixtures";
import { Cluster, Redis } from "ioredis";

const loopback = (url: string): { host: string; port: number } => ({
  host: "127.0.0.1",
  port: Number(new URL(url).port),
});

/**
 * A server and a client, which `await using` ends. With `settings`, also empty ones, the server is the test's
 * own; without, it may be one that the environment names, and others use.
 */
export async function startRedis(options: RedisOptions = {}) {
  const server = await start("redis", options);
  const admin = new Redis({ ...loopback(server.url), lazyConnect: true, retryStrategy: () => 50 });
  admin.on("error", () => {}); // tests kill servers
  return {
    ...server,
    admin,
    async [Symbol.asyncDispose]() {
      admin.disconnect();
      await server.stop();
    },
  };
}

export async function startCluster() {
  const server = await start("redis", { cluster: 3 });
  const admin = new Cluster([loopback(server.url)]);
  admin.on("error", () => {});
  return {
    ...server,
    admin,
    clusterUrl: server.url.replace("redis:", "redis+cluster:"),
    async [Symbol.asyncDispose]() {
      admin.disconnect();
      await server.stop();
    },
  };
}

/** Waits until `met` is true, and answers that; the test's own time limit is the only one. */
export async function until(met: () => boolean | Promise<boolean>): Promise<true> {
  while (!(await met())) await new Promise((resolve) => setTimeout(resolve, 10));
  return true;
}

/** A proxy that `await using` ends. */
export async function startDisposableProxy(url: string) {
  const proxy = await startProxy(url);
  return Object.assign(proxy, { [Symbol.asyncDispose]: () => proxy.stop() });
}
