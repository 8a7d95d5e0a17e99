/**
 * A strict stand-in for Google Cloud Storage, as the one store that nobody can start locally: it runs in
 * this process on 127.0.0.1, its clock can be moved, and each request can be made to go wrong.
 */
import {
  createServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { execute, refused } from "./gcs-fake-api.ts";
import {
  type FakeAnswer,
  type FakeBucket,
  type FakeObject,
  type FakeRequest,
  Refusal,
} from "./gcs-fake-objects.ts";
import type { Faults } from "./server.ts";

export type { FakeBucket, FakeRequest } from "./gcs-fake-objects.ts";

/** What goes wrong with the requests that match; the first fault in the list that matches is used. */
export interface FakeFault {
  /** @default every request */
  readonly match?: ((request: FakeRequest) => boolean) | undefined;
  /** How many more requests it strikes. @default for ever */
  times?: number | undefined;
  /** Milliseconds before the request is executed: a late packet. */
  readonly beforeMs?: number | undefined;
  /** Milliseconds between execution and answer. */
  readonly afterMs?: number | undefined;
  /** Executed, and the answer never arrives. */
  readonly swallow?: boolean | undefined;
  /** Not executed, and the connection ends. */
  readonly drop?: boolean | undefined;
  /** Not executed; answered with this status. */
  readonly status?: number | undefined;
  /** @default `backendError` */
  readonly reason?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds by which only the `Date` of this answer is off. */
  readonly dateSkewMs?: number | undefined;
}

export interface FakeGcs {
  /** The `apiEndpoint` for a client. */
  readonly url: string;
  /** Milliseconds by which the server's clock is ahead of this machine's. */
  shiftMs: number;
  /** A mutation sooner after the last one of the same object is 429. @default 0 */
  minGapMs: number;
  /** Whether a mutation without a generation precondition is 400. @default true */
  strict: boolean;
  /** Methods whose preconditions are ignored, to play a careless emulator. @default none */
  careless: ReadonlySet<string>;
  readonly faults: FakeFault[];
  /** Every request, in the order of arrival. */
  readonly log: FakeRequest[];
  readonly serverFaults: Faults;
  /** An empty bucket, in the place of one of that name. */
  addBucket(name: string, settings?: Record<string, unknown>): FakeBucket;
  removeBucket(name: string): void;
  /** The objects of a bucket, to be read and edited by hand. */
  objects(bucket: string): Map<string, FakeObject>;
  /** Ends all open connections; the next request may make new ones. */
  cutConnections(): void;
  stop(): Promise<void>;
}

async function bytesOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

function respond(response: ServerResponse, answer: FakeAnswer, dateMs: number): void {
  const body = answer.json === undefined ? answer.body : Buffer.from(JSON.stringify(answer.json));
  response.sendDate = false;
  response.writeHead(answer.status, {
    ...(answer.json !== undefined && { "content-type": "application/json; charset=UTF-8" }),
    date: new Date(dateMs).toUTCString(),
    ...(answer.status !== 204 && { "content-length": String(body?.length ?? 0) }),
    ...answer.headers,
  });
  response.end(body);
}

function listen(server: HttpServer, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      server.off("error", reject);
      const address = server.address();
      if (address === null || typeof address === "string") reject(new Error("no port"));
      else resolve(address.port);
    });
  });
}

const ignore = (): void => {};

export interface FakeGcsOptions {
  /** The clock that `shiftMs` is added to, in milliseconds since 1970. @default this machine's */
  readonly clockMs?: (() => number) | undefined;
}

// Not `Date.now`, which tests set wrong to play a client whose clock is off.
const machineMs = (): number => Math.floor(performance.timeOrigin + performance.now());

export async function startFakeGcs({ clockMs = machineMs }: FakeGcsOptions = {}): Promise<FakeGcs> {
  const buckets = new Map<string, FakeBucket>();
  const sockets = new Set<Socket>();
  let open: Promise<void> = Promise.resolve();
  let resume = ignore;
  let server = createServer();

  const fake: FakeGcs = {
    url: "",
    shiftMs: 0,
    minGapMs: 0,
    strict: true,
    careless: new Set(),
    faults: [],
    log: [],
    serverFaults: {
      pause: async () => {
        resume();
        open = new Promise((resolve) => (resume = resolve));
      },
      resume: async () => resume(),
      kill: async () => stopListening(),
      restart: async () => {
        stopListening();
        resume();
        server = makeServer();
        await listen(server, port);
      },
    },
    addBucket(name, settings = {}) {
      const bucket = {
        name,
        settings,
        objects: new Map(),
        denied: new Set<string>(),
        mutatedAtMs: new Map(),
      };
      buckets.set(name, bucket);
      return bucket;
    },
    removeBucket: (name) => void buckets.delete(name),
    objects(name) {
      const bucket = buckets.get(name);
      if (bucket === undefined) throw new Error(`no bucket ${name}; add it with addBucket`);
      return bucket.objects;
    },
    cutConnections: () => {
      for (const socket of sockets) socket.destroy();
    },
    stop: async () => {
      stopListening();
      resume();
    },
  };
  const nowMs = (): number => clockMs() + fake.shiftMs;
  const rules = {
    nowMs,
    minGapMs: () => fake.minGapMs,
    strict: () => fake.strict,
    careless: () => fake.careless,
  };

  function faultFor(request: FakeRequest): FakeFault | undefined {
    const fault = fake.faults.find(
      ({ match, times }) => times !== 0 && (match === undefined || match(request)),
    );
    if (fault?.times !== undefined) fault.times -= 1;
    return fault;
  }

  function executed(request: FakeRequest): FakeAnswer {
    try {
      return execute(buckets, request, rules);
    } catch (error) {
      if (error instanceof Refusal) return refused(error.status, error.reason, error.message);
      if (error instanceof URIError) return refused(400, "invalid", "a malformed address");
      throw error;
    }
  }

  async function handle(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bytesOf(message);
    const [path = "", search = ""] = (message.url ?? "").split("?");
    const { method = "GET", headers, socket } = message;
    const request = { method, path, query: new URLSearchParams(search), headers, body };
    fake.log.push(request);
    const life = server;
    await open;
    const fault = faultFor(request);
    if (fault?.drop) return void socket.destroy();
    if (fault?.beforeMs !== undefined) await sleep(fault.beforeMs, undefined, { ref: false });
    // What a killed server had received dies with it.
    if (life !== server || !server.listening) return;
    const { status, reason = "backendError" } = fault ?? {};
    const answer = status === undefined ? executed(request) : refused(status, reason, "injected fault");
    if (fault?.swallow) return void socket.destroy();
    if (fault?.afterMs !== undefined) await sleep(fault.afterMs, undefined, { ref: false });
    const headersToo = { ...answer, headers: { ...answer.headers, ...fault?.headers } };
    respond(response, headersToo, nowMs() + (fault?.dateSkewMs ?? 0));
  }

  function makeServer(): HttpServer {
    const made = createServer((message, response) => {
      response.on("error", () => {});
      handle(message, response).catch(() => response.destroy());
    });
    // Else a connection that a client takes up again after some seconds is now and then reset under it.
    made.keepAliveTimeout = 120_000;
    made.on("connection", (socket) => {
      sockets.add(socket);
      socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    });
    return made;
  }

  function stopListening(): void {
    server.close();
    fake.cutConnections();
  }

  server = makeServer();
  const port = await listen(server, 0);
  return Object.assign(fake, { url: `http://127.0.0.1:${port}` });
}
