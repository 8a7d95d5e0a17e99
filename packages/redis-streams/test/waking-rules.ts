import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import type { RedisStreamsBackend } from "../src/index.ts";
import { attempt, call, freshNamespace } from "./call.ts";

const limitMs = 1000;

/** The rules of waking in one go, for scripts that may be broken: rejects at the first one that does not hold. */
export async function checkWaking(
  admin: Redis,
  [holder, ...processes]: readonly [RedisStreamsBackend, ...RedisStreamsBackend[]],
): Promise<void> {
  const namespace = freshNamespace();
  const name = { namespace, key: "l\u001fname" };
  const wakes = processes.map(() => 0);
  const subscriptions = await Promise.all(
    processes.map((process, i) => process.watch(name, () => (wakes[i] = (wakes[i] ?? 0) + 1), call())),
  );
  const total = (): number => wakes.reduce((sum, count) => sum + count, 0);

  async function expectTotal(wanted: number, rule: string): Promise<void> {
    const endMs = performance.now() + limitMs;
    while (total() < wanted && performance.now() < endMs) await sleep(2);
    await sleep(10); // one too many would follow at once
    assert.equal(total(), wanted, rule);
  }
  async function hold() {
    const request = attempt(name);
    const granted = await holder.acquire(request, call());
    assert.equal(granted.outcome, "granted");
    return request;
  }
  const end = async (sealed = false): Promise<void> => {
    await holder.release({ ...(await hold()), fence: null, sealed }, call());
  };

  await end();
  await expectTotal(1, "a release wakes one");
  await end();
  await end();
  await expectTotal(3, "each release wakes one");
  assert.deepEqual(wakes, [1, 1, 1], "in turn");

  const held = await hold();
  await subscriptions[0]?.close();
  await expectTotal(3, "leaving while it is held wakes nobody");
  const [line] = await admin.keys(`coord:{${namespace}:0}:w:*`);
  assert.ok(line, "two still wait");
  assert.equal(await admin.zcard(line), 2, "who left is not in line");
  const fence = (await holder.inspect(name, call()))?.fence ?? 0n;
  const overrule = { ...held, grantId: "operator", fence, released: false, now: true };
  await holder.overrule(overrule, call());
  await expectTotal(4, "an overrule that frees wakes one");
  const woken = wakes.findIndex((count) => count === 2);
  await subscriptions[woken]?.close();
  await expectTotal(5, "who leaves a free name passes the turn on");

  await admin.zadd(line, 1, "dead");
  await end();
  await expectTotal(6, "a dead process is passed over");
  assert.equal(await admin.exists(`coord:{${namespace}:0}:r:dead`), 0, "and leaves no stream");
  assert.equal(await admin.zscore(line, "dead"), null, "and leaves the line");

  await Promise.all(processes.map((process) => process.watch(name, () => wakes.push(1), call())));
  const before = total();
  await end(true);
  await expectTotal(before + processes.length + 1, "sealing wakes all");
}
