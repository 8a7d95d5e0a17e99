import type { AcquireResult, Name, OverruleResult, RecordView, ReleaseResult } from "@coord/core";
import { strangeReply } from "./errors.ts";

export function list(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw strangeReply("a list");
  return value;
}

export function text(value: unknown): string {
  if (typeof value !== "string") throw strangeReply("text");
  return value;
}

function integer(value: unknown): number {
  const number = typeof value === "string" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isSafeInteger(number)) throw strangeReply("an integer");
  return number;
}

const orNull = (milliseconds: number): number | null => (milliseconds < 0 ? null : milliseconds);

function view(name: Name, row: unknown): RecordView {
  const [grantId, holder, fence, expires, sealed, payloadSeq, retainMs, purgeAt, remaining, payload] =
    list(row);
  const expiresAt = integer(expires);
  const remainingMs = integer(remaining);
  return {
    namespace: name.namespace,
    key: name.key,
    fence: BigInt(text(fence)),
    grantId: text(grantId),
    holder: text(holder),
    expiresAt,
    sealed: sealed === "1",
    ...(typeof payload === "string" && { payload }),
    payloadSeq: integer(payloadSeq),
    retainMs: orNull(integer(retainMs)),
    purgeAt: orNull(integer(purgeAt)),
    state: remainingMs > 0 ? "held" : expiresAt === 0 ? "free" : "lapsed",
    remainingMs,
  };
}

export function viewOrNull(name: Name, row: unknown): RecordView | null {
  return row === null || row === undefined ? null : view(name, row);
}

export function acquireResult(name: Name, reply: unknown): AcquireResult {
  const [word, second, payload] = list(reply);
  switch (word) {
    case "granted":
      return {
        outcome: "granted",
        fence: BigInt(text(second)),
        ...(typeof payload === "string" && { payload }),
      };
    case "spent":
    case "held":
    case "sealed":
    case "moved": {
      const record = viewOrNull(name, second);
      return { outcome: "refused", reason: word, record, remainingMs: record?.remainingMs ?? 0 };
    }
    default:
      throw strangeReply("the answer of an acquire");
  }
}

export function releaseResult(name: Name, reply: unknown): ReleaseResult {
  const [word, row] = list(reply);
  if (word === "lost") return { outcome: "lost" };
  if (word !== "released") throw strangeReply("the answer of a release");
  const record = viewOrNull(name, row);
  return record === null ? { outcome: "released" } : { outcome: "released", record };
}

export function overruleResult(name: Name, reply: unknown): OverruleResult {
  const [word, second] = list(reply);
  if (word === "overruled") return { outcome: "overruled", fence: BigInt(text(second)) };
  if (word !== "moved") throw strangeReply("the answer of an overrule");
  return { outcome: "moved", record: viewOrNull(name, second) };
}

export function listed(namespace: string, reply: unknown): { next: string; views: RecordView[] } {
  const [next, rows] = list(reply);
  const views = list(rows).map((entry) => {
    const [key, row] = list(entry);
    return view({ namespace, key: text(key) }, row);
  });
  return { next: text(next), views };
}
