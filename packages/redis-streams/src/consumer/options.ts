import { randomBytes } from "node:crypto";
import { InvalidArgumentError } from "@coord/core";
import { type Source, sourceOf } from "../client.ts";
import type { Backoff, ConsumerOptions, Failure } from "./api.ts";
import { type Codec, jsonCodec, type StandardSchema, unchecked } from "./codec.ts";
import { checkSlots, type QueueKeys, queueKeys } from "./queue-keys.ts";

/** The options with their defaults, checked. */
export interface Settings<Body> {
  readonly source: Source;
  readonly keys: QueueKeys;
  readonly group: string;
  readonly consumer: string;
  /** The name may have been used before, so something may be pending under it. */
  readonly namedByUser: boolean;
  readonly concurrency: number;
  readonly blockMs: number;
  readonly claimAfterMs: number;
  readonly maxDeliveries: number;
  /** From this delivery count on a message may be one that kills its consumers. */
  readonly riskyFrom: number;
  readonly delayAfter: (failure: Failure) => number;
  readonly codec: Codec;
  readonly schema: StandardSchema<Body>;
  readonly createGroup: "start" | "now" | false;
  readonly onGroupLost: "create" | "stop";
  readonly deleteHandled: boolean;
}

const longestMs = 3_600_000;

export function checkedInteger(what: string, value: unknown, least: number, most: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new InvalidArgumentError(`${what} must be an integer from ${least} to ${most}, got ${String(value)}`);
}

/** Redis takes any name; these are the ones that people can read in a terminal. */
export function checkedName(what: string, value: unknown): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  if (typeof value === "string" && /^[^\u0000-\u001F\u007F]{1,512}$/.test(value) && value.isWellFormed())
    return value;
  const got = typeof value === "string" ? JSON.stringify(value.slice(0, 80)) : typeof value;
  throw new InvalidArgumentError(
    `${what} must be a text of 1 to 512 characters without control characters, got ${got}`,
  );
}

function backoff({ minMs = 1000, maxMs = 60_000, factor = 2 }: Backoff): Settings<unknown>["delayAfter"] {
  checkedInteger("retry.minMs", minMs, 0, longestMs);
  checkedInteger("retry.maxMs", maxMs, minMs, longestMs);
  if (!(factor >= 1 && factor <= 100)) {
    throw new InvalidArgumentError(`retry.factor must be a number from 1 to 100, got ${String(factor)}`);
  }
  return ({ attempt }) =>
    Math.round(Math.min(maxMs, minMs * factor ** (attempt - 1)) * (0.75 + Math.random() / 2));
}

/** A delay that a function, or a caller, gave: a broken one must not lose a message. */
export const usableDelayMs = (delayMs: number): number =>
  Number.isFinite(delayMs) ? Math.min(longestMs, Math.max(0, delayMs)) : longestMs;

function oneOf<T>(what: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  throw new InvalidArgumentError(
    `${what} must be ${allowed.map((one) => JSON.stringify(one)).join(" or ")}, got ${String(value)}`,
  );
}

const known = [
  "client",
  "url",
  "stream",
  "group",
  "consumer",
  "concurrency",
  "blockMs",
  "claimAfterMs",
  "maxDeliveries",
  "deadLetter",
  "retry",
  "codec",
  "schema",
  "createGroup",
  "onGroupLost",
  "deleteHandled",
];

export function checkOptions<Body>(options: ConsumerOptions<Body>): Settings<Body> {
  const stranger = Object.keys(options).find((name) => !known.includes(name));
  if (stranger !== undefined) {
    throw new InvalidArgumentError(
      `a consumer has no option ${stranger}; check the spelling: ${known.join(", ")}`,
    );
  }
  const { deadLetter, retry = {}, createGroup = "start", onGroupLost = "create" } = options;
  const stream = checkedName("stream", options.stream);
  const group = checkedName("group", options.group);
  if (deadLetter !== undefined) checkedName("deadLetter", deadLetter);
  if (deadLetter === stream) {
    throw new InvalidArgumentError(
      "deadLetter must be another stream: dead letters would be delivered again",
    );
  }
  const keys = queueKeys(stream, group, deadLetter);
  const source = sourceOf(options);
  if (source.cluster) checkSlots(keys);
  const maxDeliveries = checkedInteger("maxDeliveries", options.maxDeliveries ?? 5, 1, 1000);
  return {
    source,
    keys,
    group,
    consumer:
      options.consumer === undefined
        ? randomBytes(8).toString("hex")
        : checkedName("consumer", options.consumer),
    namedByUser: options.consumer !== undefined,
    concurrency: checkedInteger("concurrency", options.concurrency ?? 16, 1, 1000),
    blockMs: checkedInteger("blockMs", options.blockMs ?? 5000, 1, 60_000),
    claimAfterMs: checkedInteger("claimAfterMs", options.claimAfterMs ?? 30_000, 300, 86_400_000),
    maxDeliveries,
    riskyFrom: Math.ceil(maxDeliveries / 2) + 1,
    delayAfter: typeof retry === "function" ? retry : backoff(retry),
    codec: options.codec ?? jsonCodec(),
    schema: options.schema ?? unchecked<Body>(),
    createGroup: oneOf("createGroup", createGroup, ["start", "now", false]),
    onGroupLost: oneOf("onGroupLost", onGroupLost, ["create", "stop"]),
    deleteHandled: oneOf("deleteHandled", options.deleteHandled ?? false, [true, false]),
  };
}
