/** Rows as records, and what requests hold as values of statements. */
import { InvalidArgumentError, UnavailableError } from "@coord/core";
import type { LeaseRecord, Name } from "@coord/core";
import { bytes, integer } from "./driver.ts";
import type { Row, Value } from "./driver.ts";

/** A record as it was read, with the store's clock at that moment. */
export interface Read {
  readonly record: LeaseRecord | null;
  readonly nowUs: bigint;
}

/** The largest payload that is kept in the lease's own row. */
const IN_ROW_BYTES = 1024;
export const MAX_PAYLOAD_BYTES = 327_680;

function text(what: string, value: string, maxBytes: number): Buffer {
  const encoded = Buffer.from(value);
  if (encoded.length > maxBytes) {
    throw new InvalidArgumentError(
      `${what} must be at most ${maxBytes} bytes of UTF-8, got ${encoded.length}: shorten it, the store would cut it.`,
    );
  }
  return encoded;
}

export const nameValues = (name: Name): [Buffer, Buffer] => [
  text("namespace", name.namespace, 64),
  text("key", name.key, 640),
];
export const grantValue = (grantId: string): Buffer => text("grantId", grantId, 64);

export function holderValue(holder: string): Buffer {
  if (Array.from(holder).length <= 255) return Buffer.from(holder);
  throw new InvalidArgumentError(
    `holder must be at most 255 characters, got ${holder.length}: shorten the label.`,
  );
}

/** Where a payload goes: nowhere (the stored one is kept), into the row, or into the other table. */
export interface PayloadPlace {
  readonly at: 1 | 2 | null;
  /** For the row. */
  readonly inRow: Buffer | null;
  /** For the other table. */
  readonly aside: Buffer | null;
}

export function placeOf(payload: string | undefined): PayloadPlace {
  if (payload === undefined) return { at: null, inRow: null, aside: null };
  const encoded = text("payload", payload, MAX_PAYLOAD_BYTES);
  if (encoded.length <= IN_ROW_BYTES) return { at: 1, inRow: encoded, aside: null };
  return { at: 2, inRow: null, aside: encoded };
}

/** `given, payload, given, payload_at`, as the updates take it. */
export const payloadValues = ({ at, inRow }: PayloadPlace): Value[] => {
  const given = at === null ? 0 : 1;
  return [given, inRow, given, at ?? 0];
};

const orNull = (row: Row, column: string): number | null =>
  row[column] === null ? null : Number(integer(row, column));

/** A replica may lag, and then its answer would not show every acknowledged write. */
export function assertPrimary(row: Row): void {
  const value = String(row["read_only"]);
  if (value === "0" || value === "OFF") return;
  throw new UnavailableError("The server is read-only, so its answer may be old: connect to the primary.", {
    notDone: true,
    retryAfterMs: 500,
  });
}

export function readRow(row: Row): Read {
  assertPrimary(row);
  const nowUs = integer(row, "now_us");
  if (row["ns"] === null) return { record: null, nowUs };
  const expiresAt = Number(integer(row, "expires_ms"));
  const sealed = integer(row, "sealed") !== 0n;
  const retainMs = orNull(row, "retain_ms");
  const purgeMs = orNull(row, "purge_ms");
  const payload = row["payload"];
  const record: LeaseRecord = {
    namespace: bytes(row, "ns").toString(),
    key: bytes(row, "k").toString(),
    fence: integer(row, "fence"),
    grantId: bytes(row, "grant_id").toString(),
    holder: bytes(row, "holder").toString(),
    expiresAt,
    sealed,
    payload: Buffer.isBuffer(payload) ? payload.toString() : undefined,
    payloadSeq: Number(integer(row, "payload_seq")),
    retainMs,
    purgeAt: purgeAt({ expiresAt, sealed, retainMs, purgeMs }),
  };
  return { record, nowUs };
}

/** A renew leaves `purge_ms`, which is indexed, as it was: what it moved is added here. */
function purgeAt(row: {
  expiresAt: number;
  sealed: boolean;
  retainMs: number | null;
  purgeMs: number | null;
}): number | null {
  if (row.retainMs === null || row.purgeMs === null) return null;
  if (row.expiresAt === 0) return row.purgeMs;
  return row.sealed ? null : Math.max(row.purgeMs, row.expiresAt + row.retainMs);
}
