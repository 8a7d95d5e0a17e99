import { randomBytes } from "node:crypto";
import type { AcquireRequest, CallOptions, Name, OverruleRequest, ReleaseRequest } from "@coord/core";
import { createConnection, createPool } from "mysql2/promise";
import type { Pool } from "mysql2/promise";
import type { MysqlConnection, MysqlPool } from "../src/index.ts";
import { NOW_US } from "../src/statements.ts";

/** The servers that every test of this package runs on. */
export const flavors = ["mysql", "mariadb"] as const;

export const call = (timeoutMs = 10_000): CallOptions => ({
  signal: AbortSignal.timeout(timeoutMs),
  timeoutMs,
});

export const freshId = (): string => randomBytes(16).toString("base64url");

/** A namespace of its own for each test. */
export const freshName = (key = "key"): Name => ({ namespace: `t_${randomBytes(6).toString("hex")}`, key });

export const acquireRequest = (name: Name, wishes: Partial<AcquireRequest> = {}): AcquireRequest => ({
  name,
  grantId: freshId(),
  holder: "test",
  ttlMs: 60_000,
  sealed: false,
  retainMs: 3_600_000,
  ...wishes,
});

export const releaseRequest = (
  grant: { readonly name: Name; readonly grantId: string; readonly fence: bigint | null },
  wishes: Partial<ReleaseRequest> = {},
): ReleaseRequest => ({
  name: grant.name,
  grantId: grant.grantId,
  fence: grant.fence,
  sealed: false,
  retainMs: 3_600_000,
  ...wishes,
});

export const overruleRequest = (
  name: Name,
  fence: bigint,
  wishes: Partial<OverruleRequest> = {},
): OverruleRequest => ({
  name,
  grantId: freshId(),
  fence,
  released: false,
  sealed: false,
  retainMs: 3_600_000,
  ...wishes,
});

export const poolOf = (url: string, settings: Record<string, unknown> = {}): Pool =>
  createPool({ uri: url, connectionLimit: 10, ...settings });

export type Rewrite = (sql: string) => string;

/** The connection with every statement's text changed. */
function rewritten(connection: MysqlConnection, rewrite: Rewrite): MysqlConnection {
  return {
    // What the backend looks for to tell wrappers of one connection from others.
    ...("connection" in connection && { connection: connection.connection }),
    query: (question) => connection.query({ ...question, sql: rewrite(question.sql) }),
    destroy: () => connection.destroy(),
  };
}

/** The pool with every statement's text changed. */
export function rewriting(pool: Pool, rewrite: Rewrite): MysqlPool {
  return {
    getConnection: async () => {
      const connection = await pool.getConnection();
      return { ...rewritten(connection, rewrite), release: () => connection.release() };
    },
  };
}

/** Opens connections for named locks, with every statement's text changed. */
export const connecting = (url: string, rewrite: Rewrite) => async (): Promise<MysqlConnection> =>
  rewritten(await createConnection(url), rewrite);

/** A clock that the test sets, in microseconds; statements see it in place of the server's. */
export interface TestClock {
  nowUs: bigint;
}

export const onClock = (clock: TestClock): Rewrite => {
  return (sql) => sql.replaceAll(NOW_US, `${clock.nowUs}`);
};

/** The server's clock, off by some microseconds. */
export const offBy = (offset: { us: number }): Rewrite => {
  return (sql) => sql.replaceAll(NOW_US, `(${NOW_US}+(${Math.round(offset.us)}))`);
};

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
