import type { Name, RecordView } from "@coord/core";

export type Row = Readonly<Record<string, unknown>>;

/** A time column: microseconds since 1970, of which a double loses less than half. */
const microseconds = (value: unknown): number => Math.round(Number(value));

/** The record in a row that has one, with what the store's clock says of it. */
export function recordOf(name: Name, row: Row): RecordView {
  const expiresUs = microseconds(row["expires_us"]);
  const leftUs = expiresUs - microseconds(row["now_us"]);
  const payload = row["payload"];
  return {
    namespace: name.namespace,
    key: name.key,
    fence: BigInt(String(row["fence"])),
    grantId: String(row["grant_id"]),
    holder: String(row["holder"]),
    expiresAt: Math.ceil(expiresUs / 1000),
    sealed: row["sealed"] === true,
    payload: typeof payload === "string" ? payload : undefined,
    payloadSeq: Number(row["payload_seq"]),
    retainMs: row["retain_ms"] === null ? null : Number(row["retain_ms"]),
    purgeAt: row["purge_us"] === null ? null : Math.ceil(microseconds(row["purge_us"]) / 1000),
    state: expiresUs === 0 ? "free" : leftUs > 0 ? "held" : "lapsed",
    remainingMs: Math.max(0, Math.ceil(leftUs / 1000)),
  };
}
