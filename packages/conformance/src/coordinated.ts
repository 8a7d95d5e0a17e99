/** Core on the backend under test, for the cases that prove what people use. */
import type { Backend, Coordinator, CoordinatorOptions } from "@coord/core";
import { createCoordinator } from "@coord/core";
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
