import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Proxy, startProxy } from "../src/index.ts";

/**
 * A server that answers each line with `ok LINE`, in two pieces, and remembers what it was told. It hangs up at `bye`,
 * and reads no further after `wait` until the test opens the gate.
 */
let server: Server;
let proxy: Proxy;
let told: string[];
let sockets: Set<Socket>;
let clients: Client[];
let openGate: () => void;

interface Client {
  /** Sends a line and resolves with the answer; rejects when the connection ends first. */
  ask(line: string): Promise<string>;
  readonly socket: Socket;
}

async function connect(): Promise<Client> {
  const socket = createConnection({ host: "127.0.0.1", port: proxy.port });
  socket.on("error", () => {});
  await once(socket, "connect");
  const client: Client = {
    socket,
    ask: (line) =>
      new Promise((resolve, reject) => {
        let reply = "";
        const onData = (chunk: Buffer): void => {
          reply += chunk.toString();
          if (!reply.endsWith("\n")) return;
          socket.off("data", onData);
          resolve(reply.trim());
        };
        socket.on("data", onData);
        socket.once("close", () => reject(new Error("connection lost")));
        socket.write(`${line}\n`);
      }),
  };
  clients.push(client);
  return client;
}

const patience = { timeout: 10_000 };

const silent = (asking: Promise<string>): Promise<string> => Promise.race([asking, sleep(150, "silence")]);

async function answer(socket: Socket, line: string, gate: Promise<void>): Promise<void> {
  if (line === "bye") socket.destroy();
  if (line === "wait") {
    socket.pause();
    await gate;
  }
  socket.write("ok ");
  await sleep(10);
  socket.write(`${line}\n`);
  await sleep(10);
  socket.resume();
}

beforeEach(async () => {
  told = [];
  clients = [];
  sockets = new Set();
  const gate = new Promise<void>((resolve) => {
    openGate = resolve;
  });
  server = createServer((socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => {});
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        told.push(line);
        void answer(socket, line, gate);
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  proxy = await startProxy(`127.0.0.1:${address.port}`);
});

afterEach(async () => {
  for (const client of clients) client.socket.destroy();
  await proxy.stop();
  for (const socket of sockets) socket.destroy();
  server.close();
});

describe("a proxy", () => {
  test("passes bytes both ways and counts them, round trips and connections", async () => {
    const client = await connect();
    expect(await client.ask("one")).toBe("ok one");
    expect(await client.ask("two")).toBe("ok two");
    expect(proxy.roundTrips).toBe(2);
    expect(proxy.bytes).toEqual({ toServer: 8, toClient: 14 });
    expect(proxy.connections).toBe(1);
    client.socket.end();
    await expect.poll(() => proxy.connections, patience).toBe(0);
  });

  test("counts a request in several chunks, and a pipeline, as one round trip", async () => {
    const client = await connect();
    client.socket.setNoDelay(true);
    client.socket.write("lo");
    await expect.poll(() => proxy.bytes.toServer, patience).toBe(2);
    expect(await client.ask("ng")).toBe("ok long");
    expect(proxy.roundTrips).toBe(1);
    await client.ask("one\ntwo");
    await expect.poll(() => told, patience).toEqual(["long", "one", "two"]);
    expect(proxy.roundTrips).toBe(2);
  });

  test("passes a megabyte in order under delay", async () => {
    const client = await connect();
    proxy.delay(20);
    const line = "0123456789".repeat(100_000);
    expect(await client.ask(line)).toBe(`ok ${line}`);
  });

  test("makes the URL of the target its own", async () => {
    const other = await startProxy("postgres://me:secret@127.0.0.1:9999/data?x=1");
    expect(other.url).toBe(`postgres://me:secret@127.0.0.1:${other.port}/data?x=1`);
    await other.stop();
  });

  test("resets the connection when the server is not there", async () => {
    const other = await startProxy("127.0.0.1:1");
    const socket = createConnection({ host: "127.0.0.1", port: other.port });
    const error = await new Promise((resolve) => socket.on("error", resolve));
    expect(error).toMatchObject({ code: "ECONNRESET" });
    await other.stop();
  });

  test("cuts what is open and welcomes what is new", async () => {
    const client = await connect();
    await client.ask("one");
    const lost = client.ask("two");
    proxy.cut();
    await expect(lost).rejects.toThrow("connection lost");
    expect(await (await connect()).ask("three")).toBe("ok three");
  });

  test("delays every round trip by the time, once", async () => {
    const client = await connect();
    await client.ask("warm");
    proxy.delay(120);
    const startMs = performance.now();
    await client.ask("slow");
    expect(performance.now() - startMs).toBeGreaterThan(115);
    proxy.delay(0);
    expect(await client.ask("quick")).toBe("ok quick");
  });

  test("keeps the order when a delay ends while bytes wait", async () => {
    const client = await connect();
    proxy.delay(100);
    const first = client.ask("one");
    await expect.poll(() => told, patience).toEqual(["one"]);
    await expect.poll(() => proxy.bytes.toClient, patience).toBe(7);
    proxy.delay(0);
    const seen: string[] = [];
    client.socket.on("data", (chunk) => seen.push(chunk.toString()));
    client.socket.write("two\n");
    await first;
    await expect.poll(() => seen.join(""), patience).toBe("ok one\nok two\n");
  });

  test("stalls both ways and delivers everything after it has healed", async () => {
    const client = await connect();
    await client.ask("one");
    proxy.stall();
    const asking = client.ask("two");
    expect(await silent(asking)).toBe("silence");
    expect(told).toEqual(["one"]);
    await proxy.heal();
    expect(await asking).toBe("ok two");
  });

  test("swallows one reply: the server did it, the client sees a cut", async () => {
    const [client, bystander] = [await connect(), await connect()];
    await client.ask("one");
    await bystander.ask("here");
    const { done } = proxy.swallowReply();
    await expect(client.ask("two")).rejects.toThrow("connection lost");
    await done;
    expect(told).toContain("two");
    expect(await bystander.ask("still")).toBe("ok still");
  });

  test("swallows the reply of the request that matches, after those that are skipped", async () => {
    const client = await connect();
    const { done } = proxy.swallowReply({ match: (chunk) => chunk.includes("write"), skip: 1 });
    expect(await client.ask("write 1")).toBe("ok write 1");
    expect(await client.ask("read")).toBe("ok read");
    await expect(client.ask("write 2")).rejects.toThrow("connection lost");
    await done;
    expect(told).toEqual(["write 1", "read", "write 2"]);
  });

  test("can be silent instead of cutting, until it is healed", async () => {
    const client = await connect();
    const { done } = proxy.swallowReply({ ending: "silence" });
    const asking = client.ask("one");
    await done;
    expect(await silent(asking)).toBe("silence");
    client.socket.write("two\n");
    expect(await silent(asking)).toBe("silence");
    expect(told).toEqual(["one"]);
    expect(await (await connect()).ask("three")).toBe("ok three");
    await proxy.heal();
    await expect(asking).rejects.toThrow("connection lost");
  });

  test("delivers to the last byte what a client had sent before the reply it will not get", async () => {
    const client = await connect();
    const { done } = proxy.swallowReply();
    client.socket.write("wait\n");
    await expect.poll(() => told, patience).toEqual(["wait"]);
    client.socket.write("more\n");
    await expect.poll(() => proxy.bytes.toServer, patience).toBe(10);
    openGate();
    await done;
    await expect.poll(() => told, patience).toEqual(["wait", "more"]);
  });

  test("delivers it also when the client resets the connection meanwhile", async () => {
    const client = await connect();
    const { done } = proxy.swallowReply();
    client.socket.write("wait\n");
    await expect.poll(() => told, patience).toEqual(["wait"]);
    client.socket.write("more\n");
    await expect.poll(() => proxy.bytes.toServer, patience).toBe(10);
    client.socket.resetAndDestroy();
    await sleep(20);
    openGate();
    await done;
    await expect.poll(() => told, patience).toEqual(["wait", "more"]);
  });

  test("does not wait for ever for a server that hangs up instead of answering", async () => {
    const client = await connect();
    const { done } = proxy.swallowReply();
    await expect(client.ask("bye")).rejects.toThrow("connection lost");
    await expect(done).resolves.toBeUndefined();
  });

  test("forgets a swallow that heal comes before", async () => {
    const client = await connect();
    proxy.swallowReply();
    await proxy.heal();
    expect(await client.ask("one")).toBe("ok one");
  });

  test("refuses as a closed port does, and comes back on the same port", async () => {
    const client = await connect();
    const { port } = proxy;
    const lost = client.ask("one");
    const [, refusal] = await Promise.allSettled([lost, proxy.refuse()]);
    expect(refusal.status).toBe("fulfilled");
    const socket = createConnection({ host: "127.0.0.1", port });
    const error = await new Promise((resolve) => socket.on("error", resolve));
    expect(error).toMatchObject({ code: "ECONNREFUSED" });
    await proxy.heal();
    expect(proxy.port).toBe(port);
    expect(await (await connect()).ask("two")).toBe("ok two");
  });
});
