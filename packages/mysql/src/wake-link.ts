/** A connection outside all pools, for named locks: they belong to it, and end with it. */
import { createHash } from "node:crypto";
import type { Name } from "@coord/core";
import { ask, hangUp, integer, onError, rowsOf, unref } from "./driver.ts";
import type { MysqlConnection, Row, Value } from "./driver.ts";

export interface Link {
  /** The server's id of the connection. */
  readonly id: bigint;
  /** Named locks are the server's, not a database's: names of ours begin with what tells databases apart. */
  readonly scope: string;
  isDown(): boolean;
  /** Rejects when the connection is down, or has not answered within `limitMs`, and then it is down. */
  ask(sql: string, values: readonly Value[], limitMs: number): Promise<Row[]>;
  /** Calls once when the connection goes down; returns what takes that back. */
  onDown(listener: () => void): () => void;
  hangUp(): void;
}

export type Connect = () => Promise<MysqlConnection>;

/** A host that vanished without a word holds a named lock no longer than this. */
export const IDLE_LIMIT_MS = 60_000;
const OPEN_LIMIT_MS = 5000;

export interface LockNames {
  /** The turnstile: who has it is the one that watches the gate; the server queues the others. */
  readonly turnstile: Buffer;
  /** The gate: closed while the lease is held. */
  readonly gate: Buffer;
}

export function lockNames(scope: string, { namespace, key }: Name): LockNames {
  const hash = createHash("sha256").update(`${scope}\0${namespace}\0${key}`).digest("hex").slice(0, 40);
  return { turnstile: Buffer.from(`q_${hash}`), gate: Buffer.from(`g_${hash}`) };
}

export async function openLink(connect: Connect, lease: string): Promise<Link> {
  const connection = await connect();
  const listeners = new Set<() => void>();
  let down = false;
  const fall = (): void => {
    if (down) return;
    down = true;
    hangUp(connection);
    for (const listener of listeners) listener();
    listeners.clear();
  };
  onError(connection, fall);
  unref(connection);

  async function limited(sql: string, values: readonly Value[], limitMs: number): Promise<unknown> {
    if (down) throw new Error("The connection for named locks is down.");
    const answer = ask(connection, sql, values);
    const ended = new AbortController();
    const gone = new Promise<never>((_, reject) => {
      ended.signal.addEventListener("abort", () => reject(new Error("The connection went down.")));
    });
    gone.catch(() => {});
    const onGone = (): void => ended.abort();
    listeners.add(onGone);
    const timer = setTimeout(fall, limitMs).unref();
    try {
      return await Promise.race([answer, gone]);
    } catch (error) {
      answer.catch(() => {});
      throw error;
    } finally {
      clearTimeout(timer);
      listeners.delete(onGone);
    }
  }

  try {
    await limited(`SET SESSION wait_timeout=${IDLE_LIMIT_MS / 1000}`, [], OPEN_LIMIT_MS);
    const rows = rowsOf(
      await limited("SELECT CAST(DATABASE() AS BINARY) AS d,CONNECTION_ID() AS id", [], OPEN_LIMIT_MS),
    );
    const [row = {}] = rows;
    return {
      id: integer(row, "id"),
      scope: `${String(row["d"])}.${lease}`,
      isDown: () => down,
      ask: async (sql, values, limitMs) => rowsOf(await limited(sql, values, limitMs)),
      onDown: (listener) => {
        if (down) listener();
        else listeners.add(listener);
        return () => void listeners.delete(listener);
      },
      hangUp: fall,
    };
  } catch (error) {
    fall();
    throw error;
  }
}
