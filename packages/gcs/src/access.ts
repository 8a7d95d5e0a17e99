/** How this backend talks to a bucket: one method of the official client, or of anything that answers alike. */
import type { CallOptions } from "@coord/core";
import { ConfigurationError, UnavailableError } from "@coord/core";
import { onAbort } from "./abort.ts";
import { mapError, statusOf } from "./errors.ts";
import { field } from "./field.ts";

/** What the client calls with its options before it sends a request. */
interface TimeLimit {
  request<Options extends object>(options: Options): Options & { uri: string; timeout: number };
}

/** One request of the JSON API. */
export interface GcsRequest {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  /** Relative to the bucket's address (`/o/NAME?…`, percent-encoded), or absolute for an upload. */
  readonly uri: string;
  readonly headers: Record<string, string>;
  /** Sent as it is, in UTF-8. */
  readonly body?: string;
  /** 0: a conditional write that is sent again is refused by its own success, so core repeats, not the client. */
  readonly maxRetries: number;
  /** The client's way to a time limit for one request. */
  readonly interceptors_: TimeLimit[];
}

/**
 * What leases need of a bucket: a `Bucket` of `@google-cloud/storage`, or any object with these members.
 * `request` resolves with the body (parsed if it is JSON, else its text) and the response, and rejects on a
 * status that is not 2xx with an error whose `code` is the status and whose `response` has the headers.
 */
export interface GcsBucket {
  readonly name: string;
  /** @default { apiEndpoint: 'https://storage.googleapis.com' } */
  readonly storage?: { readonly apiEndpoint?: string | undefined } | undefined;
  request(request: GcsRequest): Promise<unknown>;
}

export interface Access {
  /** The bucket, loaded on first use where a URL was given. */
  readonly bucket: () => Promise<GcsBucket>;
  readonly monotonicMs: () => number;
}

export interface Reply {
  /** 404 and 412 are answers too. */
  readonly status: number;
  readonly body: unknown;
  /** The store's clock, from the answer's `Date`: whole seconds. */
  readonly nowUs: bigint;
  readonly sentAt: number;
}

export function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const pairs = Object.entries(query).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${encodeURIComponent(value)}`],
  );
  return `${path}?${pairs.join("&")}`;
}

function clockOf(response: unknown, what: string): bigint {
  const date = field(field(response, "headers"), "date");
  const ms = typeof date === "string" ? Date.parse(date) : Number.NaN;
  if (Number.isNaN(ms)) {
    throw new ConfigurationError(
      `gcs: the answer to ${what} has no Date header, which is the store's clock: remove the proxy that strips it.`,
    );
  }
  return BigInt(ms) * 1000n;
}

/** Rejects when the caller no longer waits; the request itself may still arrive. */
function whileWaiting<T>(work: Promise<T>, what: string, { signal, timeoutMs }: CallOptions): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      reject(
        new UnavailableError(`gcs: no answer to ${what} in time; it may or may not have happened.`, {
          cause: signal.reason,
        }),
      );
    };
    const timer = setTimeout(giveUp, timeoutMs);
    const stopWaiting = onAbort(signal, giveUp);
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      stopWaiting();
    });
  });
}

function timeLimit(timeoutMs: number): TimeLimit {
  const timeout = Math.ceil(timeoutMs);
  return { request: (sent) => ({ ...sent, uri: String(field(sent, "uri")), timeout }) };
}

export interface Wishes {
  readonly method: GcsRequest["method"];
  readonly uri: string | ((bucket: GcsBucket) => string);
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

/** One request; resolves for 2xx, 404 and 412, and throws this library's errors for all else. */
export async function call(access: Access, wishes: Wishes, options: CallOptions): Promise<Reply> {
  const what = `${wishes.method} ${typeof wishes.uri === "string" ? (wishes.uri.split("?")[0] ?? "") : "upload"}`;
  const bucket = await access.bucket();
  if (options.signal.aborted) {
    throw new UnavailableError(`gcs: ${what} was not sent, as nobody waits for it any more.`, {
      cause: options.signal.reason,
      notDone: true,
    });
  }
  const sentAt = access.monotonicMs();
  try {
    const request: GcsRequest = {
      method: wishes.method,
      uri: typeof wishes.uri === "string" ? wishes.uri : wishes.uri(bucket),
      headers: { ...wishes.headers },
      ...(wishes.body !== undefined && { body: wishes.body }),
      maxRetries: 0,
      interceptors_: [timeLimit(options.timeoutMs)],
    };
    const answer = await whileWaiting(bucket.request(request), what, options);
    const [body, response] = Array.isArray(answer) ? answer : [answer, undefined];
    const status = Number(field(response, "statusCode") ?? 200);
    return { status, body, nowUs: clockOf(response, what), sentAt };
  } catch (error) {
    if (error instanceof UnavailableError || error instanceof ConfigurationError) throw error;
    const status = statusOf(error);
    if (status !== 404 && status !== 412) throw mapError(error, what);
    return { status, body: undefined, nowUs: clockOf(field(error, "response"), what), sentAt };
  }
}
