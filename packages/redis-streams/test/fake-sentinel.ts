import { createServer } from "node:net";

/**
 * Answers who the master is and nothing else: what a client asks of Sentinel before it connects. The masters
 * and replicas of the tests are real, and so is the failover; this only points at it.
 */
export async function startFakeSentinel(masterPort: () => number) {
  const server = createServer((socket) => {
    let received = "";
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      for (;;) {
        const [whole, words] = command(received);
        if (words === undefined) return;
        received = received.slice(whole);
        socket.write(answer(words, masterPort()));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("no port");
  return { port: address.port, [Symbol.asyncDispose]: async () => void server.close() };
}

/** The first whole command of what was received: how long it is, and its words. */
function command(received: string): [length: number, words: string[] | undefined] {
  const lines = received.split("\r\n");
  const count = Number(lines[0]?.slice(1));
  if (lines.length < 2 + 2 * count) return [0, undefined];
  const own = lines.slice(0, 1 + 2 * count);
  return [own.join("\r\n").length + 2, own.filter((_, i) => i > 0 && i % 2 === 0)];
}

function answer(words: string[], masterPort: number): string {
  const what = words.slice(0, 2).join(" ").toLowerCase();
  if (what === "sentinel get-master-addr-by-name") {
    const port = String(masterPort);
    return `*2\r\n$9\r\n127.0.0.1\r\n$${port.length}\r\n${port}\r\n`;
  }
  if (what.startsWith("sentinel")) return "*0\r\n";
  return what.startsWith("hello") ? "-ERR unknown command 'HELLO'\r\n" : "+OK\r\n";
}
