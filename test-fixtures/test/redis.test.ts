import { Cluster } from "ioredis";
import { expect, test } from "vitest";
import { type RedisOptions, type Server, start, whyMissing } from "../src/index.ts";
import { describeFaults } from "./faults.ts";
import { askRedis, redisTalk } from "./redis-talk.ts";

const variants: RedisOptions[] = [{ settings: { "maxmemory-policy": "noeviction" } }, { flavor: "valkey" }];
for (const options of variants) await describeFaults("redis", options, redisTalk);

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
        (server.nodes ?? []).map(({ url }) => askRedis(url, (client) => client.dbsize())),
      );
      expect(sizes).toHaveLength(3);
      expect(Math.min(...sizes)).toBeGreaterThan(0);
    } finally {
      await server.stop();
    }
  },
);

const missingNodes = process.env["COORD_FIXTURES"] === "containers" ? "the nodes share a container" : missing;
test.skipIf(missingNodes)(
  `one Redis node can be killed alone ${missingNodes ?? ""}`,
  { timeout: 90_000 },
  async () => {
    const server = await start("redis", { cluster: 3 });
    try {
      const node = server.nodes?.[1];
      await node?.faults?.kill();
      await expect(askRedis(node?.url ?? "", (client) => client.ping())).rejects.toBeInstanceOf(Error);
      expect(await askRedis(server.url, (client) => client.ping())).toBe("PONG");
      await node?.faults?.restart();
      expect(await askRedis(node?.url ?? "", (client) => client.ping())).toBe("PONG");
    } finally {
      await server.stop();
    }
  },
);
