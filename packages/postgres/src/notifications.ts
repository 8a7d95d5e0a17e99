/** Where notifications come from: a client of the pool, a connection of our own, or PGlite. */
import type { PooledConnection, PostgresPool } from "./client.ts";
import { ignore } from "./client.ts";

export interface Listeners {
  readonly onMessage: (channel: string, message: string) => void;
  /** The connection has dropped; called once, not after `close`. */
  readonly onEnd: () => void;
}

/** A connection that listens. */
export interface Ear {
  listen(channel: string): Promise<void>;
  close(): Promise<void>;
}

/** Opens a connection that listens to nothing yet. */
export type OpenEar = (listeners: Listeners) => Promise<Ear>;

/** Milliseconds for a LISTEN. */
const listenLimitMs = 5000;

/** What a client and a checked-out client have in common. */
type Emitter = Pick<PooledConnection, "query" | "on" | "removeListener">;

function hasText(value: unknown): value is { channel: string; payload: string } {
  return (
    typeof value === "object" &&
    value !== null &&
    "channel" in value &&
    typeof value.channel === "string" &&
    "payload" in value &&
    typeof value.payload === "string"
  );
}

function earOf(client: Emitter, { onMessage, onEnd }: Listeners, end: () => Promise<void>): Ear {
  const onNotification = (message: unknown): void => {
    if (hasText(message)) onMessage(message.channel, message.payload);
  };
  let isOpen = true;
  const stop = (): boolean => {
    const wasOpen = isOpen;
    isOpen = false;
    return wasOpen;
  };
  const close = async (): Promise<void> => {
    if (!stop()) return;
    client.removeListener("notification", onNotification);
    await end().catch(ignore);
  };
  const onDrop = (): void => {
    if (!isOpen) return;
    // The `error` listener stays: a dying connection may report more than once.
    void close();
    onEnd();
  };
  client.on("notification", onNotification);
  client.on("error", onDrop);
  client.on("end", onDrop);
  return {
    // Our own channel names: hexadecimal digits, so there is nothing to quote.
    listen: async (channel) => {
      await client.query({ text: `LISTEN "${channel}"`, query_timeout: listenLimitMs });
    },
    close,
  };
}

/** Keeps one client checked out; it is closed in the end, as the next user must not get its LISTENs. */
export const earOfPool =
  (pool: PostgresPool): OpenEar =>
  async (listeners) => {
    const client = await pool.connect();
    return earOf(client, listeners, async () => client.release(true));
  };

/** A connection of our own. */
export const earOfUrl =
  (url: string, load: () => Promise<typeof import("pg")>): OpenEar =>
  async (listeners) => {
    const { default: pg } = await load();
    const client = new pg.Client({
      connectionString: url,
      connectionTimeoutMillis: listenLimitMs,
      keepAlive: true,
      application_name: "coord-listen",
    });
    client.on("error", ignore);
    await client.connect();
    return earOf(client, listeners, () => client.end());
  };

/** PGlite delivers within its process and never drops. */
export const earOfPglite =
  (listen: (channel: string, callback: (payload: string) => void) => Promise<() => Promise<void>>): OpenEar =>
  async ({ onMessage }) => {
    const ends: (() => Promise<void>)[] = [];
    return {
      listen: async (channel) => {
        ends.push(await listen(channel, (message) => onMessage(channel, message)));
      },
      close: async () => {
        await Promise.all(ends.map((end) => end()));
      },
    };
  };
