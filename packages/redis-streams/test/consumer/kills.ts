/**
 * Consumers in processes of their own, killed and stopped at random while they work; afterwards every message must
 * have been handled, and none by two living owners at once.
 *
 * `node --conditions=source --import tsx packages/redis-streams/test/consumer/kills.ts [messages]` is the long form.
 */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { startRedis, until } from "../server.ts";
import { bundled } from "./bundled.ts";

export interface Ordeal {
  readonly messages: number;
  readonly workers: number;
  /** How many processes are killed or stopped, one about every `everyMs`. */
  readonly ends: number;
  readonly everyMs: number;
  /** Messages that kill whoever handles them. */
  readonly poison: number;
}

export interface Verdict {
  readonly handled: number;
  readonly handledTwice: number;
  readonly overlaps: string[];
  readonly pending: number;
  readonly dead: string[];
  readonly killed: number;
  readonly stopped: number;
  readonly tookMs: number;
}

const claimAfterMs = 4000;

export async function survive({ messages, workers, ends, everyMs, poison }: Ordeal): Promise<Verdict> {
  await using server = await startRedis({ settings: {} });
  await using child = await bundled("kills-child.ts");
  const { admin } = server;
  const stream = "ordeal";
  const alive = new Map<ChildProcess, string>();
  let started = 0;
  let isOver = false;
  let crashes = 0;

  function begin(): void {
    const name = `p${(started += 1)}`;
    const args = [server.url, stream, name, String(claimAfterMs)];
    const worker = child.start(args);
    alive.set(worker, name);
    worker.once("exit", (_, signal) => {
      alive.delete(worker);
      // One name for each attempt of each process, as its runs are called.
      const runs = Array.from({ length: 20 }, (_, attempt) => `${name}/${attempt}`);
      if (signal !== null) void admin.sadd("killed", ...runs);
      if (signal !== null && !worker.killed) crashes++;
      if (!isOver) begin();
    });
  }

  const beganMs = performance.now();
  await admin.xgroup("CREATE", stream, "workers", "0", "MKSTREAM");
  for (let i = 0; i < workers; i++) begin();
  const sending = (async () => {
    for (let sent = 0; sent < messages; sent += 200) {
      const pipeline = admin.pipeline();
      for (let i = sent; i < Math.min(sent + 200, messages); i++)
        pipeline.xadd(stream, "*", "body", String(i));
      for (let i = 0; i < poison; i++) if (sent === 200 * (i + 1)) pipeline.xadd(stream, "*", "body", "-1");
      await pipeline.exec();
      await new Promise((resolve) => setTimeout(resolve, (ends * everyMs * 200) / messages));
    }
  })();
  await until(async () => (await admin.hlen("handled")) > 0);
  let killed = 0;
  for (let i = 0; i < ends; i++) {
    await new Promise((resolve) => setTimeout(resolve, everyMs * (0.5 + Math.random())));
    const candidates = [...alive.keys()];
    const worker = candidates[Math.floor(Math.random() * candidates.length)];
    const signal = Math.random() < 0.6 ? "SIGKILL" : "SIGTERM";
    if (worker?.kill(signal) && signal === "SIGKILL") killed++;
  }
  await sending;
  const pending = async (): Promise<number> => {
    const [count] = (await admin.call("XPENDING", stream, "workers")) as [number];
    return count;
  };
  await until(async () => (await admin.hlen("handled")) === messages && (await pending()) === 0);
  isOver = true;
  const last = [...alive.keys()];
  for (const worker of last) worker.kill("SIGTERM");
  for (const worker of last) if (alive.has(worker)) await once(worker, "exit");
  const counts = Object.values(await admin.hgetall("handled")).map(Number);
  const dead = await admin.xrange(`{${stream}}:workers:dead`, "-", "+");
  return {
    handled: counts.length,
    handledTwice: counts.filter((count) => count > 1).length,
    overlaps: await admin.lrange("overlaps", 0, -1),
    pending: await pending(),
    dead: dead.map(([, fields]) => fields.join(" ")),
    killed: killed + crashes,
    stopped: ends - killed,
    tookMs: Math.round(performance.now() - beganMs),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const messages = Number(process.argv[2] ?? 100_000);
  const verdict = await survive({ messages, workers: 4, ends: 60, everyMs: 1500, poison: 2 });
  console.log(verdict);
  const failed =
    verdict.handled !== messages ||
    verdict.overlaps.length > 0 ||
    verdict.pending > 0 ||
    verdict.dead.length !== 2;
  process.exitCode = failed ? 1 : 0;
}
