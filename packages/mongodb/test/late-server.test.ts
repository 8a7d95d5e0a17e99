import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { MongoClient } from "mongodb";
import { MongoClient as MongoClient6 } from "mongodb-6";
import { describe, expect, test } from "vitest";
import { type MongodbOptions, mongodbBackend } from "../src/index.ts";
import { codeOf, freshNamespace, within } from "./calls.ts";
import { missing, useStore } from "./store.ts";

/** An address where nobody listens until `open` lets connections through to the server. */
async function closedDoor(
  target: string,
): Promise<{ url: string; open: () => Promise<void>; close: () => void }> {
  const sockets = new Set<Socket>();
  const door: Server = createServer((client) => {
    const server = connect(Number(new URL(target).port), "127.0.0.1");
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => to.destroy());
      from.pipe(to);
    }
  });
  const listen = async (port: number): Promise<number> => {
    await once(door.listen(port, "127.0.0.1"), "listening");
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it listens on TCP
    return (door.address() as AddressInfo).port;
  };
  const port = await listen(0);
  await new Promise((resolve) => door.close(resolve));
  return {
    url: `mongodb://127.0.0.1:${port}/test?directConnection=true`,
    open: async () => void (await listen(port)),
    close() {
      door.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

describe.skipIf(missing)("a server that comes up after the program", () => {
  const store = useStore();
  const impatient = { serverSelectionTimeoutMS: 1000 };
  const sources: [string, (url: string) => MongodbOptions & { client?: MongoClient | MongoClient6 }][] = [
    ["a url", (url) => ({ url })],
    ["a client of driver 7", (url) => ({ client: new MongoClient(url, impatient) })],
    ["a client of driver 6", (url) => ({ client: new MongoClient6(url, impatient) })],
  ];

  test.for(sources)("%s that found no server finds it later", { timeout: 30_000 }, async ([, optionsFor]) => {
    const door = await closedDoor(store().server.url);
    const options = optionsFor(door.url);
    const backend = mongodbBackend(options);
    const look = () => backend.inspect({ namespace: freshNamespace(), key: "late" }, within());
    try {
      expect(await codeOf(look())).toBe("COORD_UNAVAILABLE");
      expect(await codeOf(backend.setup(within()))).toBe("COORD_UNAVAILABLE");
      await door.open();
      await backend.setup(within());
      expect(await look()).toBeNull();
    } finally {
      await backend.close();
      await options.client?.close();
      door.close();
    }
  });
});
