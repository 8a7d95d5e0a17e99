import { Cluster, Redis } from "ioredis";
import { Cluster as Cluster5, Redis as Redis5 } from "ioredis-5";
import { describe, expect, test } from "vitest";
import { parseUrl } from "../src/client.ts";
import { redisStreamsBackend, type RedisClient } from "../src/index.ts";
import { partitionOf, slotOfKey } from "../src/keys.ts";

const lazy = { lazyConnect: true } as const;

describe("options", () => {
  test("clients of ioredis 5 and 6 fit, and a backend that is never used connects nowhere", async () => {
    const clients: RedisClient[] = [
      new Redis(lazy),
      new Cluster([{ host: "127.0.0.1", port: 1 }], lazy),
      new Redis5(lazy),
      new Cluster5([{ host: "127.0.0.1", port: 1 }], lazy),
    ];
    for (const client of clients) {
      const backend = redisStreamsBackend({ client });
      expect(backend.info).toMatchObject({ name: "redis-streams", prunes: false });
      await backend.close();
      expect(client.status).toBe("wait");
      client.disconnect();
    }
  });

  test("a client with a keyPrefix is refused, with what to do instead", () => {
    const client = new Redis({ ...lazy, keyPrefix: "app:" });
    expect(() => redisStreamsBackend({ client })).toThrow(/no keyPrefix, got "app:".*namespace/);
    const nodes = [{ host: "127.0.0.1", port: 1 }];
    const cluster = new Cluster(nodes, { ...lazy, redisOptions: { keyPrefix: "app:" } });
    expect(() => redisStreamsBackend({ client: cluster })).toThrow(/no keyPrefix, got "app:"/);
  });

  test.each([
    [{ partitions: 0 }, "partitions must be an integer from 1 to 64, got 0"],
    [{ partitions: 1.5 }, "partitions must be an integer from 1 to 64, got 1.5"],
    [{ minReplicas: -1 }, "minReplicas must be an integer from 0 to 16, got -1"],
  ])("%j is refused by name, range and value", (options, message) => {
    expect(() => redisStreamsBackend({ url: "redis://localhost", ...options })).toThrow(message);
  });

  test("client and url exclude each other", () => {
    const options = JSON.parse("{}") as { url: string };
    expect(() => redisStreamsBackend(options)).toThrow("either client (of ioredis) or url");
  });

  test.each([
    "http://me:hunter2@localhost",
    "redis://me:hunter2@localhost?db=1",
    "redis://me:hunter2@localhost:70000",
    "redis://me:hunter2@localhost:x",
    "redis://me:hunter2%@localhost",
    "redis://me:hunter2@a,b",
    "redis+cluster://me:hunter2@a:1,b:2/3",
    "redis://me:hunter2@",
    "redis://me:hunter2@host#hunter2",
  ])("the URL %s is refused without being told", (url) => {
    expect(() => redisStreamsBackend({ url })).toThrow(/^url must be redis:(?!.*hunter2)/);
  });

  test("URLs say host, port, database, login, TLS and a cluster's nodes", () => {
    expect(parseUrl("redis://localhost")).toEqual({
      cluster: false,
      nodes: [{ host: "localhost", port: 6379 }],
      login: {},
    });
    expect(parseUrl("rediss://me:p%40%3A@[::1]:7000/2")).toEqual({
      cluster: false,
      nodes: [{ host: "::1", port: 7000 }],
      login: { username: "me", password: "p@:", db: 2, tls: {} },
    });
    expect(parseUrl("redis://:secret@h").login).toEqual({ password: "secret" });
    expect(parseUrl("rediss+cluster://u:p@a:1,b:2")).toEqual({
      cluster: true,
      nodes: [
        { host: "a", port: 1 },
        { host: "b", port: 2 },
      ],
      login: { username: "u", password: "p", tls: {} },
    });
  });
});

describe("layout", () => {
  test("the partition of a name and the slot of a tag never change", () => {
    expect(["", "a", "foobar"].map((key) => partitionOf(key, 2 ** 32))).toEqual([
      0x811c9dc5, 0xe40c292c, 0xbf9cf968,
    ]);
    expect(slotOfKey("{123456789}")).toBe(0x31c3);
    expect(slotOfKey("coord:{foo}:l:}x{")).toBe(12_182);
  });
});
