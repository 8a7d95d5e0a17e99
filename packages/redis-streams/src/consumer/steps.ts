import { ConfigurationError } from "@coord/core";
import type { Commands } from "../commands.ts";
import { isReply, strangeReply } from "../errors.ts";
import type { Argument } from "../evaluate.ts";
import { within } from "../limit.ts";
import { list, text } from "../replies.ts";
import type { Script } from "../scripts.ts";
import type { Fields } from "./codec.ts";
import type { DeadReason } from "./events.ts";
import type { Settings } from "./options.ts";
import type { QueueScripts } from "./scripts.ts";

/** What proves that a message is still this delivery's; the consumer's name goes with every call. */
export interface Token {
  readonly id: string;
  readonly attempt: number;
}

/** A message as it comes from Redis. */
export interface Entry extends Token {
  readonly fields: Fields;
}

/** An entry that became a dead letter on the way. */
export interface Gone {
  readonly id: string;
  readonly reason: DeadReason;
}

/** What is given back at the end. */
export interface Returned extends Token {
  /** How idle it counts as: `claimAfterMs` means that it can be claimed at once. */
  readonly idleMs: number;
  /** Whether this delivery counts as one. */
  readonly counts: boolean;
}

/** How a step on one message ended, beside having been done. */
export type Ended = "claimed" | "acknowledged";
export type Refreshed = "held" | "trimmed" | Ended;

/** The steps of one consumer, typed; each is one atomic script. */
export interface Steps {
  /** Makes sure that the whole group takes messages over after the same time. */
  agree(): Promise<void>;
  /** Answers whether the group was missing. */
  createGroup(from: "start" | "now"): Promise<boolean>;
  ack(tokens: readonly Token[]): Promise<("acked" | Ended)[]>;
  refresh(tokens: readonly Token[], timeoutMs: number): Promise<Refreshed[]>;
  bury(token: Token, reason: DeadReason, error: string): Promise<"buried" | Ended>;
  /** For what was removed from the stream while it was handled: its dead letter is written from memory. */
  buryFromMemory(entry: Entry, reason: DeadReason, error: string): Promise<void>;
  claim(
    from: string,
    limit: number,
    risky: number,
  ): Promise<{ next: string; entries: Entry[]; gone: Gone[] }>;
  replay(
    limit: number,
    risky: number,
    inHand: readonly string[],
  ): Promise<{ entries: Entry[]; gone: Gone[] }>;
  /** Raises the delivery count: the number of the next delivery. */
  retry(token: Token): Promise<number | "trimmed" | Ended>;
  leave(returned: readonly Returned[]): Promise<void>;
  sweep(idleMs: number): Promise<void>;
  trim(): Promise<number>;
}

/** Larger calls would keep the server from others for longer than a few milliseconds. */
export const tokensPerCall = 200;
export const acksPerCall = 500;
const callMs = 5000;

function integer(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  throw strangeReply("an integer");
}

const isText = (value: unknown): value is string => typeof value === "string";

/** Looked at in place: there are many. */
function texts(value: unknown): Fields {
  const all = list(value);
  if (all.every(isText)) return all;
  throw strangeReply("a list of texts");
}

/** Entries that a script or a read answered, `{id, count, fields}` or `{id, fields}`. */
const entryOf = (row: unknown): Entry => {
  const [id, attempt, fields] = list(row);
  return { id: text(id), attempt: integer(attempt), fields: texts(fields) };
};

const reasons: readonly DeadReason[] = ["deliveries", "trimmed"];

function goneOf(row: unknown): Gone {
  const [id, word] = list(row);
  const reason = reasons.find((one) => one === word);
  if (reason === undefined) throw strangeReply("a reason for a dead letter");
  return { id: text(id), reason };
}

/** What a read answered: nothing, or the new entries, each with delivery count 1. */
export function newEntries(reply: unknown): Entry[] {
  if (reply === null) return [];
  return list(list(list(reply)[0])[1]).map((row) => {
    const [id, fields] = list(row);
    return { id: text(id), attempt: 1, fields: texts(fields) };
  });
}

/** The same number of times in a row: `count n id1 .. idn`, and so on. */
function inRuns(tokens: readonly Token[]): Argument[] {
  const args: Argument[] = [];
  let head = 0;
  let attempt = 0;
  for (const token of tokens) {
    if (token.attempt !== attempt || head === 0) {
      attempt = token.attempt;
      head = args.push(attempt, 0) - 1;
    }
    args.push(token.id);
    args[head] = args.length - 1 - head;
  }
  return args;
}

const flat = (tokens: readonly Token[]): Argument[] => tokens.flatMap(({ id, attempt }) => [id, attempt]);

export function createSteps(commands: Commands, settings: Settings<unknown>, scripts: QueueScripts): Steps {
  const { group, consumer, claimAfterMs, maxDeliveries, riskyFrom } = settings;
  const { stream, dead, agreement } = settings.keys;
  const deletes = settings.deleteHandled ? 1 : 0;

  const run = (
    script: Script,
    keys: [string, ...string[]],
    args: readonly Argument[],
    timeoutMs = callMs,
  ): Promise<unknown> => commands.run({ script, keys, args }, within(timeoutMs));

  async function each<Answer>(
    tokens: readonly Token[],
    script: Script,
    args: readonly Argument[],
    meaning: Readonly<Record<number, Answer>>,
    timeoutMs?: number,
  ): Promise<Answer[]> {
    const reply = await run(script, [stream], args, timeoutMs);
    const answers = typeof reply === "number" ? Array.from(tokens, () => reply) : list(reply);
    if (answers.length !== tokens.length) throw strangeReply("one answer for each message");
    return answers.map((answer) => {
      const means = meaning[integer(answer)];
      if (means === undefined) throw strangeReply("the answer about a message");
      return means;
    });
  }

  return {
    async agree() {
      await commands.send(["hsetnx", agreement, "claimAfterMs", claimAfterMs], within(callMs));
      const stands = Number(await commands.send(["hget", agreement, "claimAfterMs"], within(callMs)));
      if (stands === claimAfterMs) return;
      throw new ConfigurationError(
        `claimAfterMs must be the same in the whole group ${JSON.stringify(group)}, which runs with ${stands}, ` +
          `got ${claimAfterMs}: a shorter one would take messages that are being handled. To change it, stop ` +
          `the group's consumers and delete the key ${JSON.stringify(agreement)}`,
      );
    },
    async createGroup(from) {
      try {
        const start = from === "start" ? "0" : "$";
        await commands.send(["xgroup", "CREATE", stream, group, start, "MKSTREAM"], within(callMs));
        return true;
      } catch (error) {
        if (error instanceof ConfigurationError && isReply(error.cause, "BUSYGROUP")) return false;
        throw error;
      }
    },
    ack: (tokens) =>
      each(tokens, scripts.ack, [group, consumer, deletes, ...inRuns(tokens)], {
        0: "claimed",
        1: "acked",
        2: "acknowledged",
      }),
    refresh: (tokens, timeoutMs) =>
      each(
        tokens,
        scripts.refresh,
        [group, consumer, ...flat(tokens)],
        { 0: "claimed", 1: "held", 2: "acknowledged", 3: "trimmed" },
        timeoutMs,
      ),
    async bury({ id, attempt }, reason, error) {
      const answer = await run(
        scripts.dead,
        [stream, dead],
        [group, consumer, id, attempt, reason, error, deletes],
      );
      return answer === 1 ? "buried" : answer === 2 ? "acknowledged" : "claimed";
    },
    async buryFromMemory({ id, attempt, fields }, reason, error) {
      const head = ["_id", id, "_group", group, "_consumer", consumer, "_count", attempt];
      await commands.send(
        ["xadd", dead, "*", ...head, "_reason", reason, "_error", error, ...fields],
        within(callMs),
      );
    },
    async claim(from, limit, risky) {
      const [next, entries, gone] = list(
        await run(
          scripts.claim,
          [stream, dead],
          [group, consumer, claimAfterMs, from, limit, maxDeliveries, deletes, riskyFrom, risky],
        ),
      );
      return { next: text(next), entries: list(entries).map(entryOf), gone: list(gone).map(goneOf) };
    },
    async replay(limit, risky, inHand) {
      const [entries, gone] = list(
        await run(
          scripts.replay,
          [stream, dead],
          [group, consumer, limit, maxDeliveries, deletes, riskyFrom, risky, ...inHand],
        ),
      );
      return { entries: list(entries).map(entryOf), gone: list(gone).map(goneOf) };
    },
    async retry({ id, attempt }) {
      const answer = integer(await run(scripts.retry, [stream], [group, consumer, id, attempt]));
      if (answer > 0) return answer;
      return answer === -1 ? "acknowledged" : answer === -2 ? "trimmed" : "claimed";
    },
    async leave(returned) {
      for (let i = 0; i === 0 || i < returned.length; i += tokensPerCall) {
        const args = returned
          .slice(i, i + tokensPerCall)
          .flatMap(({ id, attempt, idleMs, counts }) => [id, attempt, idleMs, counts ? 1 : 0]);
        await run(scripts.leave, [stream], [group, consumer, ...args], 2000);
      }
    },
    async sweep(idleMs) {
      await run(scripts.sweep, [stream], [group, idleMs]);
    },
    trim: async () => integer(await run(scripts.trim, [stream], [])),
  };
}
