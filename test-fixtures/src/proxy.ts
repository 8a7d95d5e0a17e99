import { createConnection, createServer, type Server as Listener, type Socket } from "node:net";
import { freePort } from "./probe.ts";
import { startLane, type Lane } from "./proxy-lane.ts";

export interface SwallowOptions {
  /**
   * What the client sees instead of the reply: `cut` resets its connection; `silence` leaves it open for ever, with
   * nothing passing either way any more. @default "cut"
   */
  readonly ending?: "cut" | "silence";
  /** How many (matching) requests pass before the one that is hit. @default 0 */
  readonly skip?: number;
  /** Which requests count, asked with each chunk that a client sends. @default all */
  readonly match?: (chunk: Buffer) => boolean;
}

/**
 * Stands between clients and a server and spoils their TCP connections on demand. It knows no protocol: a *request* is
 * a run of bytes from the client, up to the next byte of the server. So requests that overlap on one connection count
 * as one, as does a pipeline, and bytes that the server sends unasked end a request.
 */
export interface Proxy {
  /** The target's URL with the proxy's address in it. */
  readonly url: string;
  readonly port: number;
  /** Connections open now. */
  readonly connections: number;
  /** Requests that the server has begun to answer, over all connections, handshakes too: compare before and after. */
  readonly roundTrips: number;
  readonly bytes: { readonly toServer: number; readonly toClient: number };
  /** Resets every open connection; new ones are welcome. */
  cut(): void;
  /** Adds this time to the way back, so to each round trip, in order; 0 ends it for what comes later. */
  delay(delayMs: number): void;
  /** Holds back every byte both ways, also of new connections, until `heal` delivers them: a partition that ends. */
  stall(): void;
  /**
   * Lets the next request through to the server and drops the reply. `done` settles when the server has begun to
   * answer, or has hung up; what the client had sent by then is delivered to the last byte.
   */
  swallowReply(options?: SwallowOptions): { readonly done: Promise<void> };
  /** Resets every connection and refuses new ones as a closed port does. */
  refuse(): Promise<void>;
  /** Ends `delay`, `stall`, `refuse` and what `swallowReply` still waits for; resets connections left in silence. */
  heal(): Promise<void>;
  stop(): Promise<void>;
}

interface Rule {
  readonly ending: "cut" | "silence";
  skip: number;
  readonly match: (chunk: Buffer) => boolean;
  readonly done: () => void;
}

interface Link {
  readonly lanes: readonly Lane[];
  isSilent: boolean;
  reset(): void;
}

const defaultPorts: Readonly<Record<string, number>> = {
  "http:": 80,
  "mongodb:": 27_017,
  "mysql:": 3306,
  "postgres:": 5432,
  "postgresql:": 5432,
  "redis:": 6379,
};

function parseTarget(target: string): { host: string; port: number; through: (port: number) => string } {
  const plain = /^([^/:]+):(\d+)$/.exec(target);
  if (plain) return { host: plain[1] ?? "", port: Number(plain[2]), through: (port) => `127.0.0.1:${port}` };
  const url = new URL(target);
  const port = Number(url.port) || defaultPorts[url.protocol];
  if (port === undefined)
    throw new TypeError(`startProxy needs a port in the URL, for ${url.protocol} has no usual one`);
  return {
    host: url.hostname,
    port,
    through: (ownPort) => {
      const changed = new URL(target);
      changed.hostname = "127.0.0.1";
      changed.port = String(ownPort);
      return changed.href;
    },
  };
}

/** Starts a proxy for one server, given as a URL or as `host:port`. */
export async function startProxy(target: string): Promise<Proxy> {
  const { host, port: targetPort, through } = parseTarget(target);
  const links = new Set<Link>();
  const bytes = { toServer: 0, toClient: 0 };
  let roundTrips = 0;
  let delayMs = 0;
  let isStalled = false;
  let rules: Rule[] = [];

  function join(client: Socket): void {
    const server = createConnection({ host, port: targetPort, allowHalfOpen: true, noDelay: true });
    client.setNoDelay(true);
    let isAsking = false;
    let hit: Rule | undefined;
    let counted = new Set<Rule>();

    const aim = (chunk: Buffer): void => {
      for (const rule of rules) {
        if (counted.has(rule) || !rule.match(chunk)) continue;
        counted.add(rule); // A request in several chunks is one.
        if (rule.skip-- > 0) continue;
        hit = rule;
        rules = rules.filter((other) => other !== rule);
        return;
      }
    };
    const toServer = startLane(client, server, {
      delayMs: () => 0,
      isStalled: () => isStalled,
      accept: (chunk) => {
        if (link.isSilent) return false;
        bytes.toServer += chunk.length;
        if (!isAsking) counted = new Set();
        isAsking = true;
        if (hit === undefined) aim(chunk);
        return true;
      },
    });
    const toClient = startLane(server, client, {
      delayMs: () => delayMs,
      isStalled: () => isStalled,
      accept: (chunk) => {
        if (link.isSilent) return false;
        bytes.toClient += chunk.length;
        if (isAsking) roundTrips++;
        isAsking = false;
        if (hit === undefined) return true;
        link.isSilent = true;
        // The end comes after the request's last byte, so the server still carries out all of it.
        if (hit.ending === "cut") {
          client.resetAndDestroy();
          server.end();
        }
        hit.done();
        return false;
      },
    });
    const link: Link = {
      lanes: [toServer, toClient],
      isSilent: false,
      reset: () => {
        client.resetAndDestroy();
        server.destroy();
      },
    };
    links.add(link);
    let open = 2;
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      socket.on("error", () => {});
      socket.on("close", (hadError) => {
        if (--open === 0) {
          links.delete(link);
          hit?.done();
        }
        // A reset is passed on, save that a server still gets to carry out the request whose reply is to be lost.
        if (!hadError || link.isSilent) return;
        if (other === server && hit !== undefined) server.end();
        else other.resetAndDestroy();
      });
    }
  }

  let listener: Listener | undefined;
  const listen = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const opened = createServer({ allowHalfOpen: true }, join);
      opened.once("error", reject);
      opened.listen({ host: "127.0.0.1", port }, () => {
        listener = opened;
        resolve();
      });
    });
  const cut = (): void => {
    for (const link of links) link.reset();
  };
  const refuse = (): Promise<void> =>
    new Promise((resolve) => {
      const closing = listener;
      listener = undefined;
      if (closing === undefined) resolve();
      else closing.close(() => resolve());
      cut();
    });

  let port = await freePort();
  await listen(port).catch(async () => {
    port = await freePort(); // Somebody else was quicker.
    return listen(port);
  });

  return {
    url: through(port),
    port,
    bytes,
    get connections() {
      return links.size;
    },
    get roundTrips() {
      return roundTrips;
    },
    cut,
    delay: (ms) => {
      delayMs = ms;
    },
    stall: () => {
      isStalled = true;
    },
    swallowReply: ({ ending = "cut", skip = 0, match = () => true } = {}) => {
      const done = new Promise<void>((resolve) => {
        rules.push({ ending, skip, match, done: resolve });
      });
      return { done };
    },
    refuse,
    heal: async () => {
      delayMs = 0;
      isStalled = false;
      rules = [];
      for (const link of links) {
        if (link.isSilent) link.reset();
        else for (const lane of link.lanes) lane.flush();
      }
      if (listener === undefined) await listen(port);
    },
    stop: refuse,
  };
}
