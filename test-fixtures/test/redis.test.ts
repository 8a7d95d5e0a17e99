import { Cluster, Redis } from "ioredis";
import { expect, test } from "vitest";
import { type RedisOptions, type Server, start, whyMissing } from "../src/index.ts";
import { describeFaults } from "./faults.ts";

async function ask<T>(url: string, question: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { retryStrategy: () => null, maxRetriesPerRequest: 0 });
  client.on("error", () => {});
  try {
    return await question(client);
  } finally {
    client.disconnect();
  }
}

const talk = {
  write: (url: string, value: string) => ask(url, (client) => client.set("kept", value)),
  read: (url: string) => ask(url, async (client) => (await client.get("kept")) ?? undefined),
};

const variants: RedisOptions[] = [{ settings: { "maxmemory-policy": "noeviction" } }, { flavor: "valkey" }];
for (const options of variants) await describeFaults("redis", options, talk);

async function inCluster<T>(server: Server, question: (client: Cluster) => Promise<T>): Promise<T> {
  const client = new Cluster([server.url]);
  client.on("error", () => {});
  try {
    return await question(client);
  } finally {
    client.disconnect();
  }
}

const missing = await whyMissing("redis", { cluster: 3 });
test.skipIf(missing)(
  `Redis as a cluster serves all slots, also after a restart ${missing ?? ""}`,
  { timeout: 90_000 },
  async () => {
    const server = await start("redis", { cluster: 3 });
    try {
      const names = Array.from({ length: 30 }, (_, index) => `name-${index}`);
      await inCluster(server, (client) => Promise.all(names.map((name) => client.set(name, name))));
      await server.faults?.restart();
      expect(await inCluster(server, (client) => Promise.all(names.map((name) => client.get(name))))).toEqual(
        names,
      );
      const sizes = await Promise.all(
        (server.nodes ?? []).map(({ url }) => ask(url, (client) => client.dbsize())),
      );
      expect(sizes).toHaveLength(3);
      expect(Math.min(...sizes)).toBeGreaterThan(0);
      await server.nodes?.[1]?.faults.kill();
      await expect(ask(server.nodes?.[1]?.url ?? "", (client) => client.ping())).rejects.toBeInstanceOf(
        Error,
      );
      expect(await ask(server.url, (client) => client.ping())).toBe("PONG");
    } finally {
      await server.stop();
    }
  },
);
