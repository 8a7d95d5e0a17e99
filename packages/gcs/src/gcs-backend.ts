import type { Backend, CallOptions } from "@coord/core";
import { casBackend, ConfigurationError, InvalidArgumentError } from "@coord/core";
import { call, type GcsBucket, withQuery } from "./access.ts";
import { createBodyCache } from "./body-cache.ts";
import { diagnose } from "./diagnose.ts";
import { mapError } from "./errors.ts";
import { createPrune, list } from "./listing.ts";
import type { BodyToken, Version } from "./metadata.ts";
import { read, type Store, swap, text as textOf } from "./store.ts";

interface CommonOptions {
  /**
   * The folder of the records within the bucket, of at most 200 bytes and without slashes at its ends; the
   * empty text is the bucket's top. With a `url` its path says it. @default 'coord'
   */
  readonly prefix?: string | undefined;
  /** Milliseconds that never step; for tests that move time. @default performance.now */
  readonly monotonicMs?: (() => number) | undefined;
}

export interface GcsClientOptions extends CommonOptions {
  /** A `Bucket` of `@google-cloud/storage`, or anything that answers alike; never closed or reconfigured. */
  readonly client: GcsBucket;
  readonly url?: undefined;
}

export interface GcsUrlOptions extends CommonOptions {
  /** `gs://bucket`, `gs://bucket/prefix`; an emulator by `?endpoint=http://127.0.0.1:4443`. */
  readonly url: string;
  readonly client?: undefined;
  /** @default that of the environment's credentials */
  readonly projectId?: string | undefined;
  /** A service account's key. @default the environment's credentials */
  readonly keyFilename?: string | undefined;
}

export type GcsBackendOptions = GcsClientOptions | GcsUrlOptions;

/** The `Date` header tells whole seconds. */
const coarseMs = 1000;
/** The coarseness, and 1 s by which the clocks of the store's machines may differ. */
const padMs = coarseMs + 1000;
/** Bodies are read again and again by waiters of one name; a few of the largest are worth keeping. */
const cachedBodyLength = 4 * 1024 * 1024;

function checkPrefix(prefix: string): string {
  const isClean = /^(?!\/)[^\p{Cc}]*(?<!\/)$/u.test(prefix) && !prefix.startsWith(".well-known/");
  if (!isClean || Buffer.byteLength(prefix) > 200) {
    throw new InvalidArgumentError(
      `prefix must have at most 200 bytes, no control characters and no slash at its ends, got ${JSON.stringify(prefix.slice(0, 60))}`,
    );
  }
  return prefix === "" ? "" : `${prefix}/`;
}

interface Place {
  readonly bucket: string;
  readonly prefix: string | undefined;
  readonly endpoint: string | undefined;
}

function parseUrl(text: string): Place {
  const rule = "url must be gs://bucket or gs://bucket/prefix, with ?endpoint=http(s)://host for an emulator";
  if (!URL.canParse(text)) throw new InvalidArgumentError(`${rule}; this is no URL at all`);
  const url = new URL(text);
  const others = [...url.searchParams.keys()].filter((key) => key !== "endpoint");
  const endpoint = url.searchParams.get("endpoint") ?? undefined;
  const fault =
    (url.protocol !== "gs:" && `its scheme is ${url.protocol}//`) ||
    (url.hostname === "" && "it names no bucket") ||
    (url.username !== "" && "it has credentials, which belong into keyFilename") ||
    (url.password !== "" && "it has credentials, which belong into keyFilename") ||
    (others.length > 0 && `it has the unknown parameter ${others[0]}`) ||
    (endpoint !== undefined &&
      !/^https?:\/\/[^/]+\/?$/.test(endpoint) &&
      "its endpoint is no http(s)://host");
  if (fault) throw new InvalidArgumentError(`${rule}; ${fault}`);
  const path = decodeURIComponent(url.pathname).replace(/^\//, "").replace(/\/$/, "");
  return { bucket: url.hostname, prefix: path === "" ? undefined : path, endpoint };
}

async function openBucket(place: Place, options: GcsUrlOptions): Promise<GcsBucket> {
  const { Storage } = await import("@google-cloud/storage").catch((cause: unknown) => {
    throw new ConfigurationError(
      "gcs: a url needs the package @google-cloud/storage: install it next to @coord/gcs, or pass a Bucket as client.",
      { cause },
    );
  });
  const { projectId, keyFilename } = options;
  const storage = new Storage({
    retryOptions: { autoRetry: false, maxRetries: 0 },
    ...(projectId !== undefined && { projectId }),
    ...(keyFilename !== undefined && { keyFilename }),
    ...(place.endpoint !== undefined && { apiEndpoint: place.endpoint }),
  });
  return storage.bucket(place.bucket);
}

function openStore(options: GcsBackendOptions): Store {
  const { monotonicMs = () => performance.now() } = options;
  const common = { monotonicMs, bodies: createBodyCache(cachedBodyLength) };
  if (options.url !== undefined) {
    if (options.client !== undefined) throw new InvalidArgumentError("Give a client or a url, not both.");
    const place = parseUrl(options.url);
    if (place.prefix !== undefined && options.prefix !== undefined) {
      throw new InvalidArgumentError("Give the prefix in the url or as an option, not in both.");
    }
    let opened: Promise<GcsBucket> | undefined;
    const prefix = checkPrefix(place.prefix ?? options.prefix ?? "coord");
    return { ...common, prefix, bucket: () => (opened ??= openBucket(place, options)) };
  }
  const { client, prefix = "coord" } = options;
  if (typeof client?.request !== "function" || typeof client.name !== "string") {
    throw new InvalidArgumentError(
      "client must be a Bucket of @google-cloud/storage, or have `name` and `request`; or give a url.",
    );
  }
  return { ...common, prefix: checkPrefix(prefix), bucket: () => Promise.resolve(client) };
}

async function setup(store: Store, options: CallOptions): Promise<void> {
  const uri = withQuery("/o", { prefix: store.prefix, maxResults: "1", fields: "items(name)" });
  const { status } = await call(store, { method: "GET", uri }, options);
  if (status === 404) throw mapError({ code: 404 }, "the bucket's listing");
}

/**
 * Leases as objects of a Cloud Storage bucket: one object a name, written under preconditions.
 *
 * @throws {InvalidArgumentError} for options that can't work; nothing is sent before the first call.
 */
export function gcsBackend(wishes: GcsBackendOptions): Backend {
  const store = openStore(wishes);
  return casBackend<Version, BodyToken>({
    info: { name: "gcs", minTtlMs: 15_000, granularityMs: 4000, maxRenewBatch: 250, pollMs: 1000 },
    padMs,
    coarseMs,
    monotonicMs: store.monotonicMs,
    read: (name, options) => read(store, name, options),
    text: (name, token, options) => textOf(store, name, token, options),
    swap: (name, seen, record, options) => swap(store, name, seen, record, options),
    list: (request, options) => list(store, request, options),
    prune: createPrune(store),
    setup: (options) => setup(store, options),
    diagnose: (options) => diagnose(store, options),
    // A client's kept connections do not keep the process, and there is no other resource.
    close: async () => {},
  });
}
