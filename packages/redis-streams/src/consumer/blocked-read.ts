import { setTimeout as sleep } from "node:timers/promises";
import { UnavailableError } from "@coord/core";
import type { RedisClient } from "../client.ts";
import type { Commands } from "../commands.ts";
import { commandError, connectError, isReply } from "../errors.ts";
import { limited, within } from "../limit.ts";
import type { Settings } from "./options.ts";
import { type Entry, newEntries } from "./steps.ts";

/** A connection of its own for the reads that wait, since a blocked connection can do nothing else. */
export interface BlockedRead {
  /** New entries of the group; connects if needed. Any failure leaves it unknown what was handed out. */
  read(limit: number, blockMs: number): Promise<Entry[]>;
  /** Ends a waiting read without losing what it may have been given: it answers, early. */
  interrupt(): Promise<void>;
  close(): void;
}

/** How long connecting may take, in ms. */
const connectMs = 5000;
/** How late an answer may be before the connection counts as dead, in ms. */
const lateMs = 2500;
const unblockEveryMs = 20;
/** After that long, in ms, an interrupted read is given up with its connection. */
const unblockForMs = 2000;

const notConnected = (cause: unknown): UnavailableError =>
  new UnavailableError("no connection to Redis for reading", { cause, notDone: true });
const silent = (cause: unknown): UnavailableError =>
  new UnavailableError("the connection for reading went silent", { cause });

interface Line {
  readonly client: RedisClient;
  /** For CLIENT UNBLOCK; undefined where the user may not ask for it. */
  readonly id: number | undefined;
}

export function createBlockedRead(
  commands: Commands,
  settings: Settings<unknown>,
  stopping: AbortSignal,
): BlockedRead {
  const { source, group, consumer } = settings;
  const { stream } = settings.keys;
  let line: Line | undefined;
  let reading: Promise<unknown> | undefined;
  let readingUntilMs = 0;

  function drop(): void {
    line?.client.disconnect();
    line = undefined;
  }

  async function connect(): Promise<Line> {
    const node = await commands.masterOf(stream, within(connectMs));
    const client = await source.forReader(node);
    let reason: unknown;
    client.on("error", (error) => (reason = error));
    client.on("end", () => {
      if (line?.client === client) line = undefined;
    });
    const connected = client.connect().catch((error: unknown) => {
      throw connectError(reason ?? error);
    });
    connected.catch(() => {});
    try {
      await limited(connected, within(connectMs), notConnected);
      // Asked before the first read: afterwards the question would wait behind it.
      const id = await limited(client.call("client", "id"), within(connectMs), silent).catch(
        (error: unknown) => {
          if (isReply(error, "NOPERM") || isReply(error, "ERR")) return undefined;
          throw commandError(error);
        },
      );
      return { client, id: typeof id === "number" ? id : undefined };
    } catch (error) {
      client.disconnect();
      throw error;
    }
  }

  /** A cluster's node that is no longer in charge of the stream: this follows the redirection and learns from it. */
  async function moved(error: unknown): Promise<never> {
    await commands.send(["exists", stream], within(connectMs));
    throw new UnavailableError("the stream has moved to another node", { cause: error, notDone: true });
  }

  async function unblock(id: number): Promise<void> {
    const node = await commands.masterOf(stream, within(unblockForMs));
    if (node === undefined) await commands.send(["client", "unblock", id], within(unblockForMs));
    else await limited(node.call("client", "unblock", id), within(unblockForMs), silent);
  }

  return {
    async read(limit, blockMs) {
      line ??= await connect();
      if (stopping.aborted) return [];
      const { client } = line;
      const block = blockMs > 0 ? ["BLOCK", blockMs] : [];
      const who = ["GROUP", group, consumer];
      const sent = client.call("xreadgroup", ...who, "COUNT", limit, ...block, "STREAMS", stream, ">");
      readingUntilMs = performance.now() + blockMs + lateMs;
      reading = sent;
      try {
        return newEntries(await limited(sent, within(blockMs + lateMs), silent));
      } catch (error) {
        drop();
        if (source.cluster && (isReply(error, "MOVED") || isReply(error, "ASK"))) return await moved(error);
        throw commandError(error);
      } finally {
        reading = undefined;
      }
    },
    async interrupt() {
      // The read may be on its way only, and then there is nothing to unblock yet: so it is repeated.
      const id = line?.id;
      const untilMs = id === undefined ? readingUntilMs : performance.now() + unblockForMs;
      for (let under = reading; under !== undefined && performance.now() < untilMs; under = reading) {
        const answered = under.catch(() => {});
        if (id !== undefined) await Promise.race([answered, unblock(id).catch(() => {})]);
        await Promise.race([answered, sleep(unblockEveryMs)]);
      }
      if (reading !== undefined) drop();
    },
    close: drop,
  };
}
