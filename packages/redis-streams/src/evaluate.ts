import { UnavailableError } from "@coord/core";
import type { RedisClient } from "./client.ts";
import { isReply } from "./errors.ts";
import { slotOfKey } from "./keys.ts";
import type { Script } from "./scripts.ts";

export type Argument = string | Buffer | number;

/** A script with what it is about; the keys share a slot. */
export interface Step {
  readonly script: Script;
  readonly keys: readonly [string, ...string[]];
  readonly args: readonly Argument[];
}

type Way = "evalsha" | "eval";

function send(to: RedisClient, way: Way, { script, keys, args }: Step): Promise<unknown> {
  return to.call(way, way === "evalsha" ? script.sha : script.text, keys.length, ...keys, ...args);
}

/** By the script's hash; by its text where the server does not know it, which is no second try: nothing ran. */
async function byHashOrText<T>(attempt: (way: Way) => Promise<T>): Promise<T> {
  try {
    return await attempt("evalsha");
  } catch (error) {
    if (!isReply(error, "NOSCRIPT")) throw error;
    return await attempt("eval");
  }
}

export function evaluate(to: RedisClient, step: Step): Promise<unknown> {
  return byHashOrText((way) => send(to, way, step));
}

const refusals = new Set<unknown>(["held", "lost", "moved", "sealed", "spent"]);
const isRefusal = (answer: unknown): boolean => Array.isArray(answer) && refusals.has(answer[0]);

/** A key of the same slot, written to make WAIT count. */
const ackKey = (key: string): string => `${key.slice(0, key.indexOf("}:") + 2)}ack`;

/**
 * As `evaluate`; then that many replicas must have what was written, or the outcome is unknown.
 *
 * WAIT counts what its own connection wrote. So it goes out in the same tick as the script, hence over the
 * same socket, and after a small write: a repeated step writes nothing, and what it confirms may be older.
 */
export async function evaluateReplicated(
  to: RedisClient,
  step: Step,
  replicas: number,
  waitMs: number,
): Promise<unknown> {
  const [key] = step.keys;
  const node = to.isCluster ? ownerOf(to, key) : to;
  async function attempt(way: Way): Promise<unknown> {
    const answering = send(node, way, step);
    const reaching = Promise.all([
      node.call("hset", ackKey(key), "at", 1),
      node.call("wait", replicas, waitMs),
    ]);
    reaching.catch(() => {}); // `answering` fails too, or it is awaited below
    const answer = await answering;
    if (isRefusal(answer)) return answer;
    const [, reached] = await reaching;
    if (Number(reached) >= replicas) return answer;
    throw new UnavailableError(
      `the step happened, but only ${Number(reached)} of ${replicas} replicas confirmed it within ${waitMs} ms`,
    );
  }
  try {
    return await byHashOrText(attempt);
  } catch (error) {
    if (!to.isCluster || !isReply(error, "MOVED")) throw error;
    await to.call("exists", key); // follows the redirection and learns from it
    throw new UnavailableError("the slot has moved to another node", { cause: error, notDone: true });
  }
}

function addressOf({ options }: RedisClient): string {
  const host = "host" in options ? options.host : undefined;
  const port = "port" in options ? options.port : undefined;
  return `${String(host)}:${String(port)}`;
}

/** The node in charge of a key, as far as the cluster's client knows. */
export function ownerOf(cluster: RedisClient, key: string): RedisClient {
  const address = cluster.slots?.[slotOfKey(key)]?.[0];
  const owner = cluster.nodes?.("master").find((node) => addressOf(node) === address);
  if (owner !== undefined) return owner;
  throw new UnavailableError(`no master of the cluster is known for the slot of ${JSON.stringify(key)}`, {
    notDone: true,
  });
}
