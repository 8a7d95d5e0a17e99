/** Holds a lease in a process of its own; its store is in the parent, behind messages. */
import { UnavailableError } from "@coord/core";
import type { Backend } from "@coord/core";
import { holdLease } from "../src/holder.ts";

/** What this process asks of its parent; what it sends is what the verb takes. */
export interface Question {
  readonly id: number;
  readonly verb: "acquire" | "renew" | "release" | "inspect" | "overrule";
  readonly request: never;
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly failed?: string;
}

const [namespace = "", key = "", ttl = ""] = process.argv.slice(2);
const pending = new Map<number, (answer: Answer) => void>();
let calls = 0;

async function ask(verb: Question["verb"], request: unknown): Promise<never> {
  const id = (calls += 1);
  const answer = await new Promise<Answer>((resolve) => {
    pending.set(id, resolve);
    process.send?.({ id, verb, request });
  });
  pending.delete(id);
  if (answer.failed !== undefined) throw new UnavailableError(answer.failed);
  return answer.result as never;
}

const backend: Backend = {
  info: { name: "parent", minTtlMs: 20 },
  acquire: (request) => ask("acquire", request),
  renew: (requests) => ask("renew", requests),
  release: (request) => ask("release", request),
  inspect: (name) => ask("inspect", name),
  overrule: (request) => ask("overrule", request),
  list: async () => [],
  prune: async () => 0,
  setup: async () => {},
  diagnose: async () => ({ findings: [], clock: { storeMs: 0, beforeMs: 0, afterMs: 0 } }),
  close: async () => {},
};

process.on("message", (message: Answer | "write") => {
  if (message !== "write") pending.get(message.id)?.(message);
});

await holdLease(backend, { namespace, key, ttlMs: Number(ttl) });
