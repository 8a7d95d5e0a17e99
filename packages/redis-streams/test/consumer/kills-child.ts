/** One process of `kills.ts`: handles messages under a referee's eyes until it is killed, or told to stop. */
import { Redis } from "ioredis";
import { createConsumer } from "../../src/consumer/index.ts";

const [url = "", stream = "", process_ = "", claimAfter = "4000", slowest = "20"] = process.argv.slice(2);
const referee = new Redis(url);

/** Whoever begins while a living process has not ended, nor been told that it lost, is an overlap. */
referee.defineCommand("began", {
  numberOfKeys: 3,
  lua: `local before = redis.call('HGET', KEYS[1], ARGV[1])
if before and redis.call('SISMEMBER', KEYS[2], before) == 0 then
  redis.call('RPUSH', KEYS[3], ARGV[1] .. ' in ' .. before .. ' and ' .. ARGV[2])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])`,
});
referee.defineCommand("ended", {
  numberOfKeys: 2,
  lua: `if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
if ARGV[3] == '1' then redis.call('HINCRBY', KEYS[2], ARGV[4], 1) end`,
});
const call = referee as unknown as Record<"began" | "ended", (...args: string[]) => Promise<unknown>>;

const consumer = createConsumer<number>({
  url,
  stream,
  group: "workers",
  concurrency: 16,
  claimAfterMs: Number(claimAfter),
  retry: { minMs: 10, maxMs: 50 },
});
process.on("SIGTERM", () => void consumer.stop({ graceMs: 2000 }));

await consumer.run(async ({ id, body, signal, attempt }) => {
  if (body === -1) process.kill(process.pid, "SIGKILL");
  const run = `${process_}/${attempt}`;
  const end = (done: "0" | "1"): Promise<unknown> =>
    call.ended("owners", "handled", id, run, done, String(body));
  await call.began("owners", "killed", "overlaps", id, run);
  const onAbort = (): void => void end("0");
  signal.addEventListener("abort", onAbort, { once: true });
  await new Promise((resolve) => setTimeout(resolve, Math.random() * Number(slowest)));
  if (signal.aborted || (body % 97 === 0 && attempt === 1)) {
    await end("0");
    throw new Error("this one fails at first");
  }
  await end("1");
});
referee.disconnect();
