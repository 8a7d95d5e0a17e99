/** Holds a lease in a process of its own; its store is in the parent, behind messages. */
import { createCoordinator, UnavailableError } from "@coord/core";
import type { Backend } from "@coord/core";

export interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly failed?: string;
}

const [namespace = "", key = "", ttl = ""] = process.argv.slice(2);
const pending = new Map<number, (answer: Answer) => void>();
let calls = 0;

async function ask(verb: string, request: unknown): Promise<never> {
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
  diagnose: () => ask("diagnose", null),
  close: async () => {},
};

const coordinator = createCoordinator({ backend, namespace, cleanUp: false });

process.on("message", (message: Answer | "write") => {
  if (message !== "write") return pending.get(message.id)?.(message);
  try {
    lease.assertHeld();
    process.send?.({ wrote: lease.fence });
  } catch {
    process.send?.({ wrote: null });
  }
});
process.on("disconnect", () => process.exit());

const lease = await coordinator.acquire(key, { ttlMs: Number(ttl) });
process.send?.({ held: lease.fence });
