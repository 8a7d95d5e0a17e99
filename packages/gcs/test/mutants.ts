/** Backends that break one rule each: what they send, or what they hear, is changed on its way. */
import { isDeepStrictEqual } from "node:util";
import type { GcsBucket, GcsRequest } from "../src/index.ts";

export interface Mutant {
  readonly title: string;
  /** The case of the conformance suite that fails it; `own/…` where none can force the interleaving. */
  readonly killer: string;
  readonly request?: (request: GcsRequest) => GcsRequest;
  /** Changes the headers of an answer. */
  readonly headers?: (headers: Record<string, unknown>) => void;
}

const isPatch = ({ method }: GcsRequest): boolean => method === "PATCH";
const isUpload = ({ method }: GcsRequest): boolean => method === "POST";
const isCreation = (request: GcsRequest): boolean =>
  isUpload(request) && request.uri.includes("ifGenerationMatch=0");
const isReplacement = (request: GcsRequest): boolean => isUpload(request) && !isCreation(request);
const isWrite = (request: GcsRequest): boolean => isPatch(request) || isUpload(request);
const isListing = ({ uri }: GcsRequest): boolean => uri.startsWith("/o?");
const isBody = ({ uri }: GcsRequest): boolean => uri.includes("alt=media");

/** Leaves parameters of the address out. */
const without =
  (applies: (request: GcsRequest) => boolean, ...names: readonly string[]) =>
  (request: GcsRequest): GcsRequest => {
    if (!applies(request)) return request;
    const [path = "", query = ""] = request.uri.split("?");
    const kept = query.split("&").filter((pair) => !names.includes(pair.split("=")[0] ?? ""));
    return { ...request, uri: `${path}?${kept.join("&")}` };
  };

/** Sends another value of one metadata field; `undefined` leaves it out, so that a patch keeps the old one. */
const field =
  (applies: (request: GcsRequest) => boolean, name: string, value: string | undefined) =>
  (request: GcsRequest): GcsRequest => {
    if (!applies(request) || request.body === undefined) return request;
    const text = new RegExp(`"${name}":"[^"]*",?`);
    return {
      ...request,
      body: request.body.replace(text, value === undefined ? "" : `"${name}":"${value}",`),
    };
  };

export const mutants: readonly Mutant[] = [
  {
    title: "a patch without metageneration precondition",
    killer: "overruling/one-of-two",
    request: without(isPatch, "ifMetagenerationMatch"),
  },
  {
    title: "a patch without generation precondition",
    killer: "own/heartbeat-after-replacement",
    request: without(isPatch, "ifGenerationMatch"),
  },
  {
    title: "a patch without preconditions",
    killer: "overruling/one-of-two",
    request: without(isPatch, "ifGenerationMatch", "ifMetagenerationMatch"),
  },
  {
    title: "a creation without precondition",
    killer: "granting/one-winner-new",
    request: without(isCreation, "ifGenerationMatch"),
  },
  {
    title: "a replacement without metageneration precondition",
    killer: "own/save-after-overrule",
    request: without(isReplacement, "ifMetagenerationMatch"),
  },
  {
    title: "a replacement without preconditions",
    killer: "releasing/stale-holder",
    request: without(isReplacement, "ifGenerationMatch", "ifMetagenerationMatch"),
  },
  {
    title: "the fence not raised by a patch",
    killer: "overruling/raises-the-fence",
    request: field(isPatch, "fence", undefined),
  },
  {
    title: "the grant not replaced by a patch",
    killer: "granting/hand-over-once",
    request: field(isPatch, "grant", undefined),
  },
  {
    title: "the holder not replaced by a patch",
    killer: "own/holder-of-a-takeover",
    request: field(isPatch, "holder", undefined),
  },
  {
    title: "the expiry not moved by a patch",
    killer: "renewing/extends",
    request: field(isPatch, "expires", undefined),
  },
  {
    title: "the seal never stored",
    killer: "granting/stored-as-asked",
    request: field(isWrite, "sealed", "0"),
  },
  {
    title: "the seal never broken by a patch",
    killer: "releasing/unseals",
    request: field(isPatch, "sealed", undefined),
  },
  {
    title: "the payload's number not stored",
    killer: "renewing/payload-kept-or-replaced",
    request: field(isUpload, "seq", "0"),
  },
  {
    title: "no payload taken for an empty one",
    killer: "own/no-payload-is-none",
    request: field(isUpload, "body", "1"),
  },
  {
    title: "the retention not stored",
    killer: "granting/stored-as-asked",
    request: field(isWrite, "retain", "null"),
  },
  {
    title: "the purge time never stored",
    killer: "sealing-and-payload/purge-at",
    request: field(isWrite, "purge", "null"),
  },
  {
    title: "the purge time not moved by a patch",
    killer: "sealing-and-payload/purge-at",
    request: field(isPatch, "purge", undefined),
  },
  {
    title: "a listing that forgets its prefix",
    killer: "reading/prefix-literal",
    request: without(isListing, "prefix"),
  },
  {
    title: "a listing that starts from the beginning",
    killer: "reading/after-is-exclusive",
    request: without(isListing, "startOffset"),
  },
  {
    title: "a body read without its generation",
    killer: "own/payload-of-the-record",
    request: without(isBody, "generation"),
  },
  {
    title: "a delete without preconditions",
    killer: "own/clean-up-after-an-acquire",
    request: without(({ method }) => method === "DELETE", "ifGenerationMatch", "ifMetagenerationMatch"),
  },
  {
    title: "the client's retries on",
    killer: "own/sent-once",
    request: (request) => ({ ...request, maxRetries: 3 }),
  },
  {
    title: "the client's clock in the place of the store's",
    killer: "expiry/client-clock-off",
    headers: (headers) => void (headers["date"] = new Date().toUTCString()),
  },
];

/** A bucket that behaves like the mutant, and counts how often that made a difference. */
export function spoiled(mutant: Mutant, count: () => void): (bucket: GcsBucket) => GcsBucket {
  return (bucket) => ({
    name: bucket.name,
    storage: bucket.storage,
    async request(request) {
      const changed = mutant.request?.(request) ?? request;
      if (changed !== request && !isDeepStrictEqual(changed, request)) count();
      const answer = await bucket.request(changed).catch((error: unknown) => {
        change(error);
        throw error;
      });
      if (Array.isArray(answer)) change({ response: answer[1] });
      return answer;
    },
  });

  function change(answer: unknown): void {
    if (mutant.headers === undefined || typeof answer !== "object" || answer === null) return;
    const response: unknown = Reflect.get(answer, "response");
    if (typeof response !== "object" || response === null) return;
    const headers: Record<string, unknown> = { ...Reflect.get(response, "headers") };
    mutant.headers(headers);
    Reflect.set(response, "headers", headers);
    count();
  }
}
