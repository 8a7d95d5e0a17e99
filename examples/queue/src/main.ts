/** Sends payments, keeps three workers running while it kills them, and counts in the end. */
import { type ChildProcess, fork } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createProducer } from "@coord/redis-streams/consumer";
import { start } from "@coord/test-fixtures";
import { Redis } from "ioredis";
import { Pool } from "pg";
import { group, type Payment, stream } from "./payment.ts";

const payments = 300;
const given = (name: string) => ({ url: process.env[name] ?? "", stop: async () => {} });
const redis = process.env["REDIS_URL"] === undefined ? await start("redis") : given("REDIS_URL");
const postgres = process.env["DATABASE_URL"] === undefined ? await start("postgres") : given("DATABASE_URL");

const pool = new Pool({ connectionString: postgres.url });
const admin = new Redis(redis.url);
await pool.query("DROP TABLE IF EXISTS account, booked");
await pool.query("CREATE TABLE account (name text PRIMARY KEY, cents bigint NOT NULL)");
await pool.query("CREATE TABLE booked (message text PRIMARY KEY)");
await pool.query("INSERT INTO account VALUES ('shop', 0)");
const dead = `{${stream}}:${group}:dead`;
await admin.unlink(stream, dead);

const producer = createProducer<Payment>({ url: redis.url, stream });
for (let cents = 1; cents <= payments; cents++) await producer.produce({ account: "shop", cents });
await producer.produce({ account: "closed", cents: 1 });
await admin.xadd(stream, "*", "body", '{"account":"shop","cents":"a lot"}');

const workers = new Set<ChildProcess>();
let isOver = false;
function hire(): void {
  const program = fileURLToPath(new URL("worker.ts", import.meta.url));
  const execArgv = ["--conditions=source", "--import", "tsx"];
  const worker = fork(program, [redis.url, postgres.url], { execArgv });
  workers.add(worker);
  worker.once("exit", () => {
    workers.delete(worker);
    if (!isOver) hire();
  });
}
for (let i = 0; i < 3; i++) hire();

const booked = async (): Promise<number> => {
  const { rows } = await pool.query<{ n: number }>("SELECT count(*)::int AS n FROM booked");
  return rows[0]?.n ?? 0;
};
const isDone = async (): Promise<boolean> => {
  const summary: unknown = await admin.call("XPENDING", stream, group);
  const isHandled = Array.isArray(summary) && summary[0] === 0;
  return isHandled && (await booked()) === payments && (await admin.xlen(dead)) === 2;
};

for (let i = 0; i < 3; i++) {
  while ((await booked()) < (payments * (i + 1)) / 5) await sleep(20);
  const [worker] = workers;
  const signal = i === 1 ? "SIGTERM" : "SIGKILL";
  console.log(`${await booked()} of ${payments} are booked, ${signal} to worker ${worker?.pid}`);
  worker?.kill(signal);
}
while (!(await isDone())) await sleep(50);
isOver = true;
for (const worker of workers) worker.kill("SIGTERM");
while (workers.size > 0) await sleep(20);

const { rows } = await pool.query<{ cents: string }>("SELECT cents FROM account");
const expected = (payments * (payments + 1)) / 2;
console.log(`${payments} payments sum up to ${expected}, the account holds ${rows[0]?.cents}`);
for (const [, fields] of await admin.xrange(dead, "-", "+")) {
  const at = (name: string): string => fields[fields.indexOf(name) + 1] ?? "";
  console.log(`a dead letter: ${at("body")}, ${at("_reason")}: ${at("_error")}`);
}
await producer.close();
await pool.end();
admin.disconnect();
await redis.stop();
await postgres.stop();
if (Number(rows[0]?.cents) !== expected) process.exitCode = 1;
