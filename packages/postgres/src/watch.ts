import { createHash } from "node:crypto";
import { type CallOptions, type Name, type Subscription, UnavailableError } from "@coord/core";
import { ignore } from "./client.ts";
import { type Run, untilAborted } from "./database.ts";
import type { Hub } from "./hub.ts";
import type { Table } from "./schema.ts";
import type { Statements } from "./statements.ts";

/** How long a mark in the record asks for notifications; it is renewed at half of that. */
const markMs = 30_000;
const armLimitMs = 5000;

const digest = (...parts: readonly string[]): string =>
  createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 32);

/** Where a release of this name is told. Hashes, as any role may listen and a message is limited to 8000 bytes. */
export function addressOf(
  { quoted }: Table,
  name: Name,
): { readonly channel: string; readonly message: string } {
  return { channel: `coord_${digest(quoted, name.namespace)}`, message: digest(name.key) };
}

interface Waiter {
  /** A refusal has shown that there is a record: the mark can be left now. */
  refused(): void;
}

const idOf = (name: Name): string => `${name.namespace}\0${name.key}`;

export interface Watching {
  readonly watch: (name: Name, onWake: () => void, options: CallOptions) => Promise<Subscription>;
  /** To be told of every refusal that came with a record. */
  readonly refused: (name: Name) => void;
}

export function watching(table: Table, statements: Statements, run: Run, hub: Hub): Watching {
  const waiters = new Map<string, Set<Waiter>>();

  async function watch(name: Name, onWake: () => void, options: CallOptions): Promise<Subscription> {
    const { channel, message } = addressOf(table, name);
    let isLive = false;
    let isClosed = false;
    let hasRecord = true;
    let timer: NodeJS.Timeout | undefined;

    /** Leaves the mark; wakes at once where there is nothing to wait for. */
    const arm = async ({ signal, timeoutMs }: CallOptions): Promise<void> => {
      const values = [name.namespace, name.key, markMs, String(Math.max(1, Math.floor(timeoutMs)))];
      const [row] = await run(statements.arm, values, { signal, timeoutMs });
      hasRecord = row !== undefined;
      if (!isClosed && row?.["held"] !== true) onWake();
    };
    const armAgain = (): Promise<void> =>
      arm({ signal: AbortSignal.timeout(armLimitMs), timeoutMs: armLimitMs }).catch(ignore);

    const comeBack = async (): Promise<void> => {
      await armAgain();
      isLive = !isClosed;
      if (!isClosed) onWake();
    };

    const waiter: Waiter = {
      refused: () => {
        if (!hasRecord) void armAgain();
      },
    };
    const topic = {
      channel,
      onMessage: (text: string) => {
        if (text === message) onWake();
      },
      onChange: (isBack: boolean) => {
        if (isBack) {
          void comeBack();
          return;
        }
        isLive = false;
        onWake();
      },
    };
    const close = async (): Promise<void> => {
      if (isClosed) return;
      isClosed = true;
      isLive = false;
      clearInterval(timer);
      hub.unsubscribe(topic);
      const others = waiters.get(idOf(name));
      others?.delete(waiter);
      if (others?.size === 0) waiters.delete(idOf(name));
    };

    const others = waiters.get(idOf(name)) ?? new Set();
    waiters.set(idOf(name), others.add(waiter));
    try {
      await untilAborted(
        hub.subscribe(topic),
        options.signal,
        () => new UnavailableError("waiting for push was given up", { notDone: true }),
      );
      isLive = true;
      await arm(options);
    } catch (error) {
      await close();
      throw error;
    }
    timer = setInterval(() => void armAgain(), markMs / 2);
    timer.unref();
    return {
      get live() {
        return isLive;
      },
      close,
    };
  }

  return {
    watch,
    refused: (name) => {
      for (const waiter of waiters.get(idOf(name)) ?? []) waiter.refused();
    },
  };
}
