import { createConnection } from "node:net";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** Sends a few bytes and collects the reply until `enough` says so; undefined when the server does not get there. */
export function exchange(
  address: { host: string; port: number },
  request: Buffer | string,
  enough: (reply: Buffer) => boolean,
  timeoutMs = 1000,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    let reply = Buffer.alloc(0);
    const socket = createConnection(address);
    const finish = (result: Buffer | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(finish, timeoutMs, undefined);
    socket.on("connect", () => request.length > 0 && socket.write(request));
    socket.on("data", (chunk) => {
      reply = Buffer.concat([reply, chunk]);
      if (enough(reply)) finish(reply);
    });
    socket.on("error", () => finish(undefined));
    socket.on("close", () => finish(undefined));
  });
}

/** Repeats until there is an answer; undefined once `giveUp` says so. */
export async function poll<T>(
  ask: () => Promise<T | undefined>,
  giveUp: () => boolean,
  pauseMs = 10,
): Promise<T | undefined> {
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (giveUp()) return undefined;
    await sleep(pauseMs);
  }
}

/**
 * A free port below the range from which systems give out ports for outgoing connections: while a server is down,
 * a client of another test cannot take its address.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 17_000);
    const isFree = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.on("error", () => resolve(false));
      server.listen({ port, host: "127.0.0.1" }, () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
