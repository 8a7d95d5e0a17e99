/** The record as custom metadata of its object, one field each; nothing is derived from the object's times. */
import { randomUUID } from "node:crypto";
import type { LeaseRecord, Name } from "@coord/core";
import { field } from "./field.ts";

/** Stands for the payload, which is the object's body and a request of its own. */
export interface BodyToken {
  readonly generation: string;
}

export type GcsRecord = LeaseRecord<string | BodyToken>;

/** What a write must find unchanged; generation 0 means that there must be no object. */
export interface Version {
  readonly ifGenerationMatch: string;
  readonly ifMetagenerationMatch?: string | undefined;
}

/** What to ask for, so that answers leave out the access lists. */
export const objectFields = "name,generation,metageneration,metadata";

export function toMetadata(record: GcsRecord): Record<string, string> {
  return {
    fence: String(record.fence),
    grant: encodeURIComponent(record.grantId),
    // Half a surrogate pair can't be encoded; it may go, as the holder is no part of a decision.
    holder: encodeURIComponent(Buffer.from(record.holder).toString()),
    expires: String(record.expiresAt),
    sealed: record.sealed ? "1" : "0",
    seq: String(record.payloadSeq),
    retain: String(record.retainMs),
    purge: String(record.purgeAt),
    // Tells "no payload" from an empty one.
    body: record.payload === undefined ? "0" : "1",
    // Else a patch that changes nothing might raise no metageneration.
    beat: randomUUID(),
  };
}

const whole = (text: unknown): number | undefined =>
  typeof text === "string" && /^\d{1,16}$/.test(text) ? Number(text) : undefined;

const wholeOrNull = (text: unknown): number | null | undefined => (text === "null" ? null : whole(text));

/** `undefined` when the object is not one that `toMetadata` described. */
export function fromObject(
  object: unknown,
  name: Name,
): { readonly record: GcsRecord; readonly version: Version } | undefined {
  const generation = field(object, "generation");
  const metageneration = field(object, "metageneration");
  const metadata = field(object, "metadata");
  const [fence, grant, holder] = ["fence", "grant", "holder"].map((key) => field(metadata, key));
  const expiresAt = whole(field(metadata, "expires"));
  const payloadSeq = whole(field(metadata, "seq"));
  const retainMs = wholeOrNull(field(metadata, "retain"));
  const purgeAt = wholeOrNull(field(metadata, "purge"));
  if (typeof generation !== "string" || typeof metageneration !== "string") return undefined;
  if (typeof fence !== "string" || !/^\d{1,30}$/.test(fence)) return undefined;
  if (typeof grant !== "string" || typeof holder !== "string") return undefined;
  if (expiresAt === undefined || payloadSeq === undefined) return undefined;
  if (retainMs === undefined || purgeAt === undefined) return undefined;
  const record = {
    namespace: name.namespace,
    key: name.key,
    fence: BigInt(fence),
    grantId: decoded(grant),
    holder: decoded(holder),
    expiresAt,
    sealed: field(metadata, "sealed") === "1",
    payload: field(metadata, "body") === "1" ? { generation } : undefined,
    payloadSeq,
    retainMs,
    purgeAt,
  };
  return { record, version: { ifGenerationMatch: generation, ifMetagenerationMatch: metageneration } };
}

/** As it is where somebody edited it by hand into what is no encoding. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
