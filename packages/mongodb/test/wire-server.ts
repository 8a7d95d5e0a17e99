/**
 * A server that speaks the wire protocol from a script: it stands in for a replica set where what matters is
 * how the real driver behaves, its change streams, labels and repeated writes, and never for the store.
 */
import { createServer, type Server, type Socket } from "node:net";
import { BSON, type Document } from "mongodb";

export interface WireServer {
  readonly url: string;
  /** The commands received, handshakes left out. */
  readonly commands: Document[];
  stop(): Promise<void>;
}

/** Answers a command; `undefined` = never; `"cut"` = the connection ends instead. */
export type Answer = (
  command: Document,
) => Promise<Document | "cut" | undefined> | Document | "cut" | undefined;

const opMsg = 2013;
const opQuery = 2004;
const opReply = 1;

function message(replyTo: number, reply: Document, code: number): Buffer {
  const body = BSON.serialize(reply);
  const prefix = code === opMsg ? Buffer.alloc(5) : Buffer.alloc(20);
  if (code === opReply) prefix.writeInt32LE(1, 16); // One document.
  const header = Buffer.alloc(16);
  header.writeInt32LE(16 + prefix.length + body.length, 0);
  header.writeInt32LE(replyTo, 8);
  header.writeInt32LE(code, 12);
  return Buffer.concat([header, prefix, body]);
}

/** The body of a request; the documents of a bulk write come in a section of their own and are put into it. */
function parse(bytes: Buffer): Document {
  if (bytes.readInt32LE(12) === opQuery) {
    return BSON.deserialize(bytes.subarray(bytes.indexOf(0, 20) + 9));
  }
  const bodyEnd = 21 + bytes.readInt32LE(21);
  const command = BSON.deserialize(bytes.subarray(21, bodyEnd), { useBigInt64: true });
  for (let section = bodyEnd; section < bytes.length && bytes[section] === 1;) {
    const end = section + 1 + bytes.readInt32LE(section + 1);
    const name = bytes.toString("utf8", section + 5, bytes.indexOf(0, section + 5));
    const documents: Document[] = [];
    for (let at = section + 6 + name.length; at < end; at += bytes.readInt32LE(at)) {
      documents.push(BSON.deserialize(bytes.subarray(at, at + bytes.readInt32LE(at)), { useBigInt64: true }));
    }
    command[name] = documents;
    section = end;
  }
  return command;
}

export async function startWireServer(answer: Answer): Promise<WireServer> {
  const sockets = new Set<Socket>();
  const commands: Document[] = [];
  let port = 0;
  const hello = (): Document => ({
    ok: 1,
    isWritablePrimary: true,
    ismaster: true,
    helloOk: true,
    setName: "rs0",
    hosts: [`127.0.0.1:${port}`],
    me: `127.0.0.1:${port}`,
    primary: `127.0.0.1:${port}`,
    maxBsonObjectSize: 16_777_216,
    maxMessageSizeBytes: 48_000_000,
    maxWriteBatchSize: 100_000,
    localTime: new Date(),
    logicalSessionTimeoutMinutes: 30,
    minWireVersion: 0,
    maxWireVersion: 21,
  });

  async function reply(socket: Socket, bytes: Buffer): Promise<void> {
    const command = parse(bytes);
    const id = bytes.readInt32LE(4);
    const [verb = ""] = Object.keys(command);
    const isHandshake = ["hello", "ismaster", "isMaster"].includes(verb);
    if (!isHandshake) commands.push(command);
    const found = isHandshake ? hello() : await answer(command);
    if (found === undefined || socket.destroyed) return;
    if (found === "cut") socket.destroy();
    else socket.write(message(id, found, bytes.readInt32LE(12) === opQuery ? opReply : opMsg));
  }

  const listener: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    let rest = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 4 && rest.length >= rest.readInt32LE(0)) {
        const bytes = rest.subarray(0, rest.readInt32LE(0));
        rest = rest.subarray(bytes.length);
        void reply(socket, bytes);
      }
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const address = listener.address();
  port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `mongodb://127.0.0.1:${port}/scripted?directConnection=true`,
    commands,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}

export const collectionThere: Document = {
  ok: 1,
  cursor: {
    id: 0n,
    ns: "scripted.$cmd.listCollections",
    firstBatch: [{ name: "coord_leases", type: "collection", options: {} }],
  },
};
