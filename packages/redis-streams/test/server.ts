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

/** Moves one slot with its keys from its master to another, as an operator's tool does. */
export async function moveSlot(admin: Cluster, slot: number): Promise<void> {
  await admin.ping();
  const [address = ""] = admin.slots[slot] ?? [];
  const masters = admin.nodes("master");
  const isOwner = ({ options }: Redis) => `${options.host}:${options.port}` === address;
  const source = masters.find(isOwner);
  const target = masters.find((node) => !isOwner(node));
  if (source === undefined || target === undefined) throw new Error("no two masters");
  const [sourceId, targetId] = [await source.cluster("MYID"), await target.cluster("MYID")];
  await target.cluster("SETSLOT", slot, "IMPORTING", sourceId);
  await source.cluster("SETSLOT", slot, "MIGRATING", targetId);
  const keys = await source.cluster("GETKEYSINSLOT", slot, 1000);
  const { host = "", port = 0 } = target.options;
  await source.call("MIGRATE", host, port, "", 0, 5000, "KEYS", ...keys);
  await target.cluster("SETSLOT", slot, "NODE", targetId);
  await source.cluster("SETSLOT", slot, "NODE", targetId);
}
