import { createHash, randomBytes } from "node:crypto";
import type { AcquireRequest, CallOptions, Name, OverruleRequest, ReleaseRequest } from "@coord/core";
import type { Proxy } from "@coord/test-fixtures";
import { vi } from "vitest";
import type { PooledConnection, PostgresPool, QueryConfig } from "../src/index.ts";

// Room for a machine that does much else at the same time; nothing waits for it where all is well.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

export const call = (timeoutMs = 10_000): CallOptions => ({
  signal: AbortSignal.timeout(timeoutMs),
  timeoutMs,
});

export const freshId = (): string => randomBytes(16).toString("base64url");

/** A namespace of its own for each test. */
export const freshName = (key = "key"): Name => ({ namespace: `t_${randomBytes(6).toString("hex")}`, key });

export function acquireRequest(name: Name, wishes: Partial<AcquireRequest> = {}): AcquireRequest {
  return {
    name,
    grantId: freshId(),
    holder: "test",
    ttlMs: 60_000,
    sealed: false,
    retainMs: 3_600_000,
    ...wishes,
  };
}

export function releaseRequest(
  grant: { name: Name; grantId: string; fence: bigint | null },
  wishes: Partial<ReleaseRequest> = {},
): ReleaseRequest {
  const { name, grantId, fence } = grant;
  return { name, grantId, fence, sealed: false, retainMs: 3_600_000, ...wishes };
}

export function overruleRequest(
  name: Name,
  fence: bigint,
  wishes: Partial<OverruleRequest> = {},
): OverruleRequest {
  return { name, grantId: freshId(), fence, released: false, sealed: false, retainMs: 3_600_000, ...wishes };
}

/** The pool with every statement's text changed, and what was sent; changed texts get names of their own. */
export function rewriting(
  pool: PostgresPool,
  rewrite: (text: string) => string,
): PostgresPool & { readonly sent: string[] } {
  const sent: string[] = [];
  return {
    totalCount: 0,
    options: pool.options,
    sent,
    on: () => {},
    connect: async () => {
      const connection = await pool.connect();
      const changed: PooledConnection = {
        query: ({ text, name, ...rest }: QueryConfig) => {
          sent.push(text);
          const digest = createHash("sha256").update(rewrite(text)).digest("hex").slice(0, 12);
          const named = name === undefined ? {} : { name: `${name}_${digest}` };
          return connection.query({ text: rewrite(text), ...rest, ...named });
        },
        release: (destroy) => connection.release(destroy),
        on: (event, listener) => connection.on(event, listener),
        removeListener: (event, listener) => connection.removeListener(event, listener),
      };
      return changed;
    },
  };
}

/** Waits for a condition; rejects with what was waited for when it does not come. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 15_000,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`waited ${limitMs} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Round trips on the wire through the proxy, and what the work answered. */
export const counting =
  (proxy: Proxy) =>
  async <T>(work: () => Promise<T>): Promise<{ trips: number; answer: T }> => {
    const before = proxy.roundTrips;
    const answer = await work();
    return { trips: proxy.roundTrips - before, answer };
  };
