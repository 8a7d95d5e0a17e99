/** Executions on the backend under test, and processes that leave one behind. */
import assert from "node:assert/strict";
import type { Coordinator, Execution, Name, OnceOptions } from "@coord/core";
import { UnavailableError } from "@coord/core";
import type { Context } from "./context.ts";
import { coordinate } from "./coordinated.ts";

/** Counts its runs. */
export function counted<T>(response: T): { readonly runs: number; readonly work: () => T } {
  let runs = 0;
  return {
    get runs() {
      return runs;
    },
    work() {
      runs += 1;
      return response;
    },
  };
}

export const failing = (error: Error) => (): never => {
  throw error;
};

export const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Error && "code" in error && error.code === code;

export async function statusOf(coord: Coordinator, key: string): Promise<string | undefined> {
  return (await coord.executions.get(key))?.status;
}

export async function fenceOf(coord: Coordinator, key: string): Promise<bigint> {
  const info = await coord.executions.get(key);
  assert.ok(info, `${key} has a record`);
  return info.fence;
}

/** A call that a broken backend can't keep going for ever. */
export const bounded = ({ timing }: Context): Pick<OnceOptions, "signal"> => ({
  signal: AbortSignal.timeout(4 * timing.callMs),
});

export async function second(context: Context): Promise<Coordinator> {
  return coordinate(context, { backend: (await context.two()).backend });
}

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
