/** One of the processes that share the account. Told by the main process what to do, it tells what it did. */
import { assertFenced, createCoordinator, isCoordError, openCoordinator } from "@coord/core";
import type { Coordinator } from "@coord/core";
import pg from "pg";
import { postgresAccount } from "./account.ts";
import type { Account } from "./account.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { remoteAccount, remoteBackend } from "./remote.ts";

const [url = "memory:", namespace = "demo", ttl = "2000"] = process.argv.slice(2);
const defaults = { ttlMs: Number(ttl), waitMs: 60_000 };

const say = (message: FromWorker): void => void process.send?.(message);
const waiting = new Map<number, (message: Extract<ToWorker, { do: "answer" }>) => void>();
let calls = 0;
let write: (() => void) | undefined;

function ask(target: string, args: readonly unknown[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    calls += 1;
    waiting.set(calls, ({ value, error }) =>
      error === undefined ? resolve(value) : reject(new Error(error)),
    );
    say({ say: "call", id: calls, target, args });
  });
}

async function open(): Promise<{ coord: Coordinator; account: Account; end: () => Promise<void> }> {
  if (url === "memory:") {
    const coord = createCoordinator({ backend: remoteBackend(ask), namespace, defaults });
    return { coord, account: remoteAccount(ask), end: () => coord.close() };
  }
  const coord = await openCoordinator({ url, namespace, defaults });
  if (!url.startsWith("postgres")) return { coord, account: remoteAccount(ask), end: () => coord.close() };
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  return { coord, account: postgresAccount(pool), end: () => coord.close().then(() => pool.end()) };
}

const { coord, account, end } = await open();

async function deposit(amount: number, fenced: boolean): Promise<void> {
  const began = performance.now();
  await coord.withLease("account:1", async (lease) => {
    say({ say: "acquired", fence: String(lease.fence), waitedMs: performance.now() - began });
    const balance = await account.read();
    say({ say: "read", balance });
    // Here the process may stand still for longer than its lease lasts: swap, a paused machine, a long
    // garbage collection. No check before the write can rule that out.
    await new Promise<void>((resolve) => {
      write = resolve;
      say({ say: "ready" });
    });
    const changed = await account.write(balance + amount, fenced ? lease.fence : null);
    try {
      if (fenced) assertFenced(lease, changed);
    } catch (error) {
      if (isCoordError(error)) say({ say: "refused", error: error.name, message: error.message });
      lease.assertHeld();
      throw error;
    }
    say({ say: "wrote", balance: balance + amount });
  });
}

async function depositUntilDone(amount: number, fenced: boolean): Promise<void> {
  for (;;) {
    try {
      await deposit(amount, fenced);
      break;
    } catch (error) {
      if (!isCoordError(error, "COORD_LEASE_LOST") && !isCoordError(error, "COORD_STALE_FENCE")) throw error;
      say({ say: "lost", error: error.name, message: error.message });
      if (!fenced) break;
    }
  }
  say({ say: "done" });
}

process.on("message", (message: ToWorker) => {
  switch (message.do) {
    case "deposit":
      void depositUntilDone(message.amount, message.fenced);
      break;
    case "write":
      write?.();
      break;
    case "answer":
      waiting.get(message.id)?.(message);
      waiting.delete(message.id);
      break;
  }
});
process.on("disconnect", () => void end());
say({ say: "started" });
