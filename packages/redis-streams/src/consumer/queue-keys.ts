import { createHash } from "node:crypto";
import { InvalidArgumentError } from "@coord/core";
import { slotOfKey } from "../keys.ts";

/** The keys of one group of one stream; by their hash tag they share a slot of a cluster. */
export interface QueueKeys {
  readonly stream: string;
  readonly dead: string;
  /** What the whole group must agree on. */
  readonly agreement: string;
}

const whole = /^[^{}]*$/;
const tagged = /^[^{}]*\{[^{}]+\}[^{}]*$/;

/** The stream's name with a hash tag that puts every key made from it into the stream's own slot. */
function base(stream: string): string {
  if (tagged.test(stream)) return stream;
  if (whole.test(stream)) return `{${stream}}`;
  throw new InvalidArgumentError(
    `stream must have no braces, or one pair with something between them, got ${JSON.stringify(stream)}: ` +
      "helper keys could not be kept in its slot of a cluster; choose another name",
  );
}

export function queueKeys(stream: string, group: string, deadLetter: string | undefined): QueueKeys {
  const prefix = `${base(stream)}:${group}`;
  return { stream, dead: deadLetter ?? `${prefix}:dead`, agreement: `${prefix}:agreement` };
}

/** Where a cluster is used, the dead letters must be in the stream's slot: one script writes both. */
export function checkSlots({ stream, dead }: QueueKeys): void {
  if (slotOfKey(stream) === slotOfKey(dead)) return;
  throw new InvalidArgumentError(
    `deadLetter must be in the slot of the stream on a cluster, got ${JSON.stringify(dead)} for the stream ` +
      `${JSON.stringify(stream)}: give both the same {tag}, or leave deadLetter out`,
  );
}

/** Remembers that a message was sent. Any text may be an idempotency key, so it is hashed. */
export function sentKey(stream: string, idempotencyKey: string): string {
  return `${base(stream)}:sent:${createHash("sha256").update(idempotencyKey).digest("base64url")}`;
}
