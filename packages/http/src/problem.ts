/** What the wrapper answers by itself. */
export type ProblemCode =
  | "idempotency-key-missing"
  | "idempotency-key-malformed"
  | "request-too-large"
  | "request-running"
  | "input-differs"
  | "response-not-stored"
  | "outcome-uncertain"
  | "request-failed"
  | "store-unavailable";

/** A problem as RFC 9457 describes it, with `code` as its extension. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ProblemCode;
}

const kinds: Readonly<Record<ProblemCode, { readonly status: number; readonly title: string }>> = {
  "idempotency-key-missing": { status: 400, title: "Idempotency-Key is missing" },
  "idempotency-key-malformed": { status: 400, title: "Idempotency-Key is malformed" },
  "request-too-large": { status: 413, title: "The request is too large" },
  "request-running": { status: 409, title: "The request is still being processed" },
  "input-differs": { status: 422, title: "Idempotency-Key was used for another request" },
  "response-not-stored": { status: 410, title: "The request was carried out, its response is gone" },
  "outcome-uncertain": { status: 500, title: "It is not known whether the request was carried out" },
  "request-failed": { status: 500, title: "The request failed for good" },
  "store-unavailable": { status: 503, title: "The request could not be looked up" },
};
const retryAfterSeconds: Partial<Record<ProblemCode, number>> = {
  "request-running": 1,
  "store-unavailable": 1,
};

export function problemOf(code: ProblemCode, detail: string, documentation: string | undefined): Problem {
  const { status, title } = kinds[code];
  const type = documentation === undefined ? "about:blank" : `${documentation}#${code}`;
  return { type, title, status, detail, code };
}

/** As `application/problem+json`, with a link to the documentation, as the draft asks for. */
export function answerOf(problem: Problem, documentation: string | undefined): Response {
  const headers = new Headers({ "content-type": "application/problem+json", "cache-control": "no-store" });
  const seconds = retryAfterSeconds[problem.code];
  if (seconds !== undefined) headers.set("retry-after", String(seconds));
  if (documentation !== undefined)
    headers.set("link", `<${documentation}>; rel="describedby"; type="text/html"`);
  return new Response(JSON.stringify(problem), { status: problem.status, headers });
}
