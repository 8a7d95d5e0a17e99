import assert from "node:assert/strict";
import type { LeaseRecord, Name } from "@coord/core";
import { isCoordError } from "@coord/core";
import type { Client } from "./client.ts";

type Stored = Record<keyof LeaseRecord, unknown>;

/** What is stored, without what the clock says of it; an absent payload and an undefined one are alike. */
export function stored(record: LeaseRecord): Stored {
  const { namespace, key, fence, grantId, holder, expiresAt } = record;
  const { sealed, payload, payloadSeq, retainMs, purgeAt } = record;
  return {
    namespace,
    key,
    fence,
    grantId,
    holder,
    expiresAt,
    sealed,
    payload,
    payloadSeq,
    retainMs,
    purgeAt,
  };
}

/** Asserts that `action` leaves every stored field as it was. */
export async function untouched(client: Client, name: Name, action: () => Promise<unknown>): Promise<void> {
  const before = stored(await client.see(name));
  await action();
  assert.deepEqual(stored(await client.see(name)), before, "nothing in the record changes");
}

export function assertWithin(value: number, from: number, to: number, what: string): void {
  assert.ok(value >= from && value <= to, `${what} must be from ${from} to ${to}, got ${value}`);
}

/** Runs `work` for each item, a few at a time, so that no pool or server is flooded. */
export async function each<T, R>(
  items: Iterable<T>,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const queue = [...items].entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) results[index] = await work(item, index);
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  return results;
}

/** Asserts that a call ends as unknown: with `COORD_UNAVAILABLE`, or for a renewal with `unknown`. */
export async function assertUnknown(call: () => Promise<unknown>, what: string): Promise<void> {
  const end = await call().then(
    (answer) => ({ answer }),
    (error: unknown) => ({ error }),
  );
  if ("answer" in end) {
    const unknown = Array.isArray(end.answer) && end.answer.every((outcome) => outcome === "unknown");
    assert.ok(unknown, `${what} must end as unknown, but was answered`);
    return;
  }
  if (isCoordError(end.error, "COORD_UNAVAILABLE")) return;
  assert.fail(`${what} must end with COORD_UNAVAILABLE, got ${String(end.error)}`);
}
