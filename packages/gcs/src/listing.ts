/** Pages of records in the order of their keys, and clean-up over them. */
import type { Backend, CallOptions, ListRequest, RecordView } from "@coord/core";
import { transitions, view } from "@coord/core";
import { call, withQuery } from "./access.ts";
import { mapError } from "./errors.ts";
import { field } from "./field.ts";
import { fromObject, type GcsRecord, objectFields, type Version } from "./metadata.ts";
import { escapeKey, nameOf } from "./object-name.ts";
import type { Store } from "./store.ts";

interface Listed {
  readonly object: string;
  readonly record: GcsRecord;
  readonly version: Version;
  readonly nowUs: bigint;
}

interface Range {
  readonly prefix: string;
  /** Names from here on, inclusive. */
  readonly startOffset?: string | undefined;
  readonly pageSize: number;
}

const largestPage = 1000;
const concurrentDeletes = 16;

/** The records of one page after the other; objects that are no records are passed over. */
async function* pages(store: Store, range: Range, options: CallOptions): AsyncGenerator<Listed[]> {
  let pageToken: string | undefined;
  do {
    const uri = withQuery("/o", {
      prefix: range.prefix,
      startOffset: range.startOffset,
      maxResults: String(Math.min(largestPage, range.pageSize)),
      pageToken,
      fields: `items(${objectFields}),nextPageToken`,
    });
    const { status, body, nowUs } = await call(store, { method: "GET", uri }, options);
    if (status === 404) throw mapError({ code: 404 }, "the listing");
    const items: unknown = field(body, "items");
    yield (Array.isArray(items) ? items : []).flatMap((item: unknown) => {
      const object = field(item, "name");
      const name = typeof object === "string" ? nameOf(store.prefix, object) : undefined;
      const found = name && fromObject(item, name);
      return found && typeof object === "string" ? [{ ...found, object, nowUs }] : [];
    });
    const next = field(body, "nextPageToken");
    pageToken = typeof next === "string" && next !== "" ? next : undefined;
  } while (pageToken !== undefined);
}

export async function list(store: Store, request: ListRequest, options: CallOptions): Promise<RecordView[]> {
  const { namespace, prefix, state, sealed, after, limit } = request;
  const base = `${store.prefix}${namespace}/`;
  const isFiltered = state !== undefined || sealed !== undefined;
  const range = {
    prefix: base + escapeKey(prefix),
    startOffset: after === undefined ? undefined : base + escapeKey(after),
    pageSize: isFiltered ? largestPage : limit + 1,
  };
  const found: RecordView[] = [];
  for await (const page of pages(store, range, options)) {
    for (const { record, nowUs } of page) {
      const seen: RecordView = { ...view(record, nowUs), payload: undefined };
      if (seen.key === after) continue;
      if (state !== undefined && seen.state !== state) continue;
      if (sealed !== undefined && seen.sealed !== sealed) continue;
      if (found.push(seen) >= limit) return found;
    }
  }
  return found;
}

/**
 * Deletes records past their time, each under the version that was judged. As there is no index over
 * `purgeAt`, all records are looked at; a call that runs out of time leaves the rest to the next one.
 */
export function createPrune(store: Store): Backend["prune"] {
  let resumeAt: string | undefined;

  return async function prune({ limit }: { readonly limit: number }, options: CallOptions): Promise<number> {
    const endsAt = store.monotonicMs() + options.timeoutMs / 2;
    const startedAt = resumeAt;
    let deleted = 0;
    for (const startOffset of startedAt === undefined ? [undefined] : [startedAt, undefined]) {
      const range = { prefix: store.prefix, startOffset, pageSize: largestPage };
      for await (const page of pages(store, range, options)) {
        const due = page.filter(({ record, nowUs }) => transitions.isPurgeable(record, nowUs));
        while (due.length > 0) {
          const some = due.splice(0, Math.min(concurrentDeletes, limit - deleted));
          resumeAt = some[0]?.object;
          const gone = await Promise.all(some.map((listed) => remove(store, listed, options)));
          deleted += gone.filter(Boolean).length;
          if (deleted >= limit) return deleted;
        }
        resumeAt = page.at(-1)?.object ?? resumeAt;
        if (store.monotonicMs() > endsAt) return deleted;
      }
      resumeAt = undefined;
    }
    return deleted;
  };
}

/** Whether it was deleted; not if somebody used it since. */
async function remove(store: Store, { object, version }: Listed, options: CallOptions): Promise<boolean> {
  const uri = withQuery(`/o/${encodeURIComponent(object)}`, { ...version });
  const { status } = await call(store, { method: "DELETE", uri }, options);
  return status !== 404 && status !== 412;
}
