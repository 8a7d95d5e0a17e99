/** Core on the backend under test, for the cases that prove what people use. */
import type { Backend, Coordinator, CoordinatorOptions, Execution, Name } from "@coord/core";
import { createCoordinator, UnavailableError } from "@coord/core";
import type { Context } from "./context.ts";
import { through } from "./through.ts";

/** A coordinator whose close leaves the backend open, as others use it too. */
export function coordinate(
  { opened, one, timing, host }: Context,
  change: Partial<Omit<CoordinatorOptions, "backend">> & { backend?: Backend; calls?: Partial<Backend> } = {},
): Coordinator {
  const { backend = one.backend, calls = {}, ...options } = change;
  return createCoordinator({
    backend: through(backend, calls),
    namespace: opened.namespace,
    // Nobody waits for a claim of this ttl to lapse.
    defaults: { ttlMs: Math.max(30_000, timing.minTtlMs) },
    cleanUp: false,
    holder: "conformance",
    host,
    ...options,
  });
}

export interface Pair {
  readonly one: Coordinator;
  readonly two: Coordinator;
  readonly ttlMs: number;
}

/** Two coordinators on independent connections, for leases that are waited out. */
export async function pairOf(context: Context): Promise<Pair> {
  const { coreTtlMs: ttlMs } = context;
  const defaults = { ttlMs, waitMs: 10 * ttlMs };
  const { backend } = await context.two();
  return {
    one: coordinate(context, { defaults }),
    two: coordinate(context, { backend, defaults }),
    ttlMs,
  };
}

export const byValue = (a: bigint, b: bigint): number => (a < b ? -1 : 1);

/** The name under which core stores an execution. */
export const executionName = ({ opened }: Context, key: string): Name => ({
  namespace: opened.namespace,
  key: `x\u001f${key}`,
});

/** A run whose process is cut off: nothing of it reaches the store until it comes back. */
export interface Orphan {
  readonly execution: Execution;
  readonly fence: bigint;
  /** The process comes back, its function returns, and this is what its caller gets. */
  readonly finish: (response: unknown) => Promise<unknown>;
}

const gone = (): never => {
  throw new UnavailableError("this process is cut off", { notDone: true });
};

/** A claim that has lapsed, of a process that began to run it and was cut off. */
export async function orphan(
  context: Context,
  key: string,
  begin: (execution: Execution) => Promise<void> = async () => {},
): Promise<Orphan> {
  const { backend } = context.one;
  let cut = false;
  const coord = coordinate(context, {
    calls: {
      renew: async (requests, options) => (cut ? gone() : backend.renew(requests, options)),
      release: async (request, options) => (cut ? gone() : backend.release(request, options)),
    },
  });
  let finish: ((response: unknown) => void) | undefined;
  const { coreTtlMs: ttlMs } = context;
  let ended: Promise<unknown> | undefined;
  const execution = await new Promise<Execution>((resolve, reject) => {
    ended = coord.once(key, { ttlMs, maxHoldMs: 10 * ttlMs }, async (_, running): Promise<string> => {
      await begin(running);
      cut = true;
      const response = new Promise<unknown>((end) => (finish = end));
      resolve(running);
      return String(await response);
    });
    ended.catch(reject);
  });
  await context.lapsed(executionName(context, key));
  return {
    execution,
    fence: execution.fence,
    finish: async (response) => {
      cut = false;
      finish?.(response);
      return await ended;
    },
  };
}
