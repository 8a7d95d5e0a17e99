/** What `casBackend` needs of a store: a read, a conditional write, and the text of a body. */
import { randomUUID } from "node:crypto";
import type { CallOptions, Name, Seen } from "@coord/core";
import { ConfigurationError } from "@coord/core";
import { type Access, call, type GcsBucket, type Reply, type Wishes, withQuery } from "./access.ts";
import type { BodyCache } from "./body-cache.ts";
import { mapError } from "./errors.ts";
import {
  type BodyToken,
  fromObject,
  type GcsRecord,
  objectFields,
  toMetadata,
  type Version,
} from "./metadata.ts";
import { objectName } from "./object-name.ts";

export interface Store extends Access {
  /** Ends in a slash, or is empty. */
  readonly prefix: string;
  readonly bodies: BodyCache;
}

export type GcsSeen = Seen<Version, BodyToken>;

/** The body is the payload behind this mark: the client would parse a body that is JSON, and lose its text. */
const bodyMark = "#";

const pathOf = (object: string): string => `/o/${encodeURIComponent(object)}`;
const apiEndpoint = ({ storage }: GcsBucket): string =>
  storage?.apiEndpoint ?? "https://storage.googleapis.com";

function seenIn(reply: Reply, object: string, name: Name): GcsSeen {
  const found = fromObject(reply.body, name);
  if (found === undefined) throw foreign(object);
  return { ...found, nowUs: reply.nowUs, sentAt: reply.sentAt };
}

const foreign = (object: string): ConfigurationError =>
  new ConfigurationError(
    `gcs: the object ${JSON.stringify(object)} is not a lease record, or was edited by hand: ` +
      "delete it, or give the leases a prefix of their own.",
  );

/** GET of the object without its body. */
export async function read(store: Store, name: Name, options: CallOptions): Promise<GcsSeen> {
  const object = objectName(store.prefix, name);
  const uri = withQuery(pathOf(object), { fields: objectFields });
  const reply = await call(store, { method: "GET", uri }, options);
  if (reply.status !== 404) return seenIn(reply, object, name);
  return { record: null, version: { ifGenerationMatch: "0" }, nowUs: reply.nowUs, sentAt: reply.sentAt };
}

/** The payload of one generation; `null` when that generation is gone. */
export async function text(
  store: Store,
  name: Name,
  { generation }: BodyToken,
  options: CallOptions,
): Promise<string | null> {
  const object = objectName(store.prefix, name);
  const id = `${object}#${generation}`;
  const cached = store.bodies.get(id);
  if (cached !== undefined) return cached;
  const uri = withQuery(pathOf(object), { alt: "media", generation });
  const { status, body } = await call(store, { method: "GET", uri }, options);
  if (status === 404 || status === 412) return null;
  if (typeof body !== "string" || !body.startsWith(bodyMark)) throw foreign(object);
  const payload = body.slice(bodyMark.length);
  store.bodies.set(id, payload);
  return payload;
}

/**
 * Writes if nobody else has since `seen`: PATCH of the metadata, which leaves the body and its generation
 * alone, or POST of a whole object where there is none yet or the payload is new. `null` = somebody has.
 */
export async function swap(
  store: Store,
  name: Name,
  seen: GcsSeen,
  record: GcsRecord,
  options: CallOptions,
): Promise<GcsSeen | null> {
  const object = objectName(store.prefix, name);
  const { payload } = record;
  const query = { ...seen.version, fields: objectFields };
  const patches = seen.record !== null && typeof payload !== "string";
  const reply = await call(
    store,
    patches ? patchObject(object, query, record) : uploadObject(object, query, record),
    options,
  );
  if (reply.status === 412 || (reply.status === 404 && seen.record !== null)) return null;
  // An upload finds no object only where there is no bucket.
  if (reply.status === 404) throw mapError({ code: 404 }, `the upload to ${JSON.stringify(object)}`);
  const written = seenIn(reply, object, name);
  if (typeof payload === "string" && typeof written.record?.payload === "object") {
    store.bodies.set(`${object}#${written.record.payload.generation}`, payload);
  }
  return written;
}

type Query = Readonly<Record<string, string | undefined>>;

// The bodies are strings made here: the client replaces "{{projectId}}" inside bodies that it makes itself.

export function patchObject(object: string, query: Query, record: GcsRecord): Wishes {
  return {
    method: "PATCH",
    uri: withQuery(pathOf(object), query),
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ metadata: toMetadata(record) }),
  };
}

export function uploadObject(object: string, query: Query, record: GcsRecord): Wishes {
  const boundary = randomUUID();
  const contentType = "text/plain; charset=utf-8";
  const description = { name: object, contentType, cacheControl: "no-store", metadata: toMetadata(record) };
  return {
    method: "POST",
    uri: (bucket) =>
      withQuery(`${apiEndpoint(bucket)}/upload/storage/v1/b/${encodeURIComponent(bucket.name)}/o`, {
        uploadType: "multipart",
        ...query,
      }),
    headers: { "content-type": `multipart/related; boundary=${boundary}` },
    body: [
      `--${boundary}`,
      "content-type: application/json",
      "",
      JSON.stringify(description),
      `--${boundary}`,
      `content-type: ${contentType}`,
      "",
      typeof record.payload === "string" ? bodyMark + record.payload : "",
      `--${boundary}--`,
    ].join("\r\n"),
  };
}
