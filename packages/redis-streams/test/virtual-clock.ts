import assert from "node:assert/strict";
import type { Redis, Cluster } from "ioredis";
import { partition } from "../src/keys.ts";
import { compileScripts, type ScriptName, type Scripts } from "../src/scripts.ts";

const readsTime = "call('TIME')";

/** The scripts with a clock that the test sets, kept beside the records; `rewrite` may break them further. */
export function scriptsOnVirtualClock(
  rewrite: (text: string, name: ScriptName) => string = (text) => text,
): Scripts {
  return compileScripts((text, name) => {
    if (name === "layout") return text;
    assert.ok(text.includes(readsTime), `${name} reads the clock`);
    const clock = "call('HMGET', string.match(key, '^coord:%b{}:') .. 'clock', 'seconds', 'microseconds')";
    return rewrite(text, name).replace(readsTime, clock);
  });
}

export async function setClock(
  admin: Redis | Cluster,
  namespace: string,
  partitions: number,
  nowUs: bigint,
): Promise<void> {
  const fields = { seconds: String(nowUs / 1_000_000n), microseconds: String(nowUs % 1_000_000n) };
  for (let index = 0; index < partitions; index++) {
    const anyKey = partition(namespace, index).names;
    await admin.hset(`${anyKey.slice(0, anyKey.indexOf("}:") + 2)}clock`, fields);
  }
}

/** A day ahead: Redis deletes by its own clock, so nothing is purged under the model's feet. */
export const startUs = (): bigint => (BigInt(Date.now()) + 86_400_000n) * 1000n + 123n;
