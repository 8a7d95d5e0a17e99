import { createHash } from "node:crypto";
import { type Coordinator, type Execution, InvalidArgumentError } from "@coord/core";
import type { OnceOptions, UncertainExecution } from "@coord/core";
import type { Problem } from "./problem.ts";
import type { StoredResponse } from "./stored-response.ts";

/** What a response says of the request: it stands and is replayed; it did not happen; nobody knows. */
export type Verdict = "completed" | "retryable" | "uncertain";

/** As the probe of `once`, with a `Response`. */
export type HttpProbeAnswer =
  | { readonly status: "completed"; readonly response: Response }
  | { readonly status: "not-done" | "unknown" };

type Passed = Pick<
  OnceOptions<string, StoredResponse>,
  "ttlMs" | "maxHoldMs" | "waitMs" | "onUncertain" | "rerunWithinMs" | "retainMs" | "holder"
>;

/** `ttlMs`, `maxHoldMs`, `waitMs`, `onUncertain`, `rerunWithinMs`, `retainMs` and `holder` are those of `once`. */
export interface IdempotentOptions extends Passed {
  coord: Pick<Coordinator, "once">;
  /**
   * Whose request it is, such as the account that it is authenticated for: keys of one scope mean nothing in
   * another, so that nobody gets the answer to somebody else's request. At most 200 bytes. An API with a single
   * client says `() => "client"`.
   */
  scope: (request: Request) => string | Promise<string>;
  /** Methods that are run at most once; requests with others go straight to the handler. @default ["POST", "PATCH"] */
  methods?: readonly string[] | undefined;
  /** Whether a request without the header is refused with 400; else it goes straight to the handler. @default true */
  required?: boolean | undefined;
  /** Longer requests are refused with 413, as all of a request is read before anything runs. @default 1048576 (1 MiB) */
  maxRequestBytes?: number | undefined;
  /**
   * What the same request is: two with the same key and another text get 422. At most 10,000 characters.
   * @default method, path with query, and SHA-256 of the body
   */
  fingerprint?: ((request: Request, body: Uint8Array) => string | Promise<string>) | undefined;
  /**
   * What a response means. `retryable` promises that nothing happened and will not any more.
   * @default below 500 it is completed, from 500 on it is uncertain
   */
  verdict?: ((response: Response) => Verdict) | undefined;
  /** What an error means that the handler throws; the error goes on to the framework. @default "uncertain" */
  onError?: "uncertain" | "retryable" | ((error: unknown) => "uncertain" | "retryable") | undefined;
  /** Finds out what became of an uncertain request, for the next one with its key. */
  probe?: ((execution: UncertainExecution<string>) => HttpProbeAnswer | Promise<HttpProbeAnswer>) | undefined;
  /** A page about your use of the header: `type` and `Link` of the problems point to it. @default none */
  documentation?: string | undefined;
  /** Your own form of the answers. @default problem+json (RFC 9457) */
  problem?: ((problem: Problem) => Response | Promise<Response>) | undefined;
}

/**
 * The function behind a route. `execution` is there for every request that is run at most once: its
 * `idempotencyKey` goes to whoever is called, and `storeResponse(response)` to its `complete`. Its request's signal
 * is the execution's: a client that hangs up does not end what it began.
 */
export type Handler<Context extends unknown[] = []> = (
  request: Request,
  execution: Execution | undefined,
  ...context: Context
) => Response | Promise<Response>;

const known = [
  "coord",
  "scope",
  "methods",
  "required",
  "maxRequestBytes",
  "fingerprint",
  "verdict",
  "onError",
  "probe",
  "documentation",
  "problem",
  "ttlMs",
  "maxHoldMs",
  "waitMs",
  "onUncertain",
  "rerunWithinMs",
  "retainMs",
  "holder",
];
const maxScopeBytes = 200;

/** `http:` and the scope, in which no colon is left, so that no two scopes and keys give one text. */
export function prefixOf(scope: string): string {
  const text = typeof scope === "string" && scope.isWellFormed() ? encodeURIComponent(scope) : "";
  if (text !== "" && text.length <= maxScopeBytes) return `http:${text}:`;
  throw new InvalidArgumentError(
    `scope must return 1 to ${maxScopeBytes} characters when percent-encoded, got ${typeof scope === "string" ? `${text.length} of them` : typeof scope}. Return the id of the account, or a digest of it.`,
  );
}

function sha256Of(request: Request, body: Uint8Array): string {
  const { pathname, search } = new URL(request.url);
  return `${request.method} ${pathname}${search} ${createHash("sha256").update(body).digest("base64url")}`;
}

/** Options that were checked, with their defaults. */
export interface Settings {
  readonly methods: ReadonlySet<string>;
  readonly required: boolean;
  readonly maxRequestBytes: number;
  readonly fingerprint: NonNullable<IdempotentOptions["fingerprint"]>;
  readonly documentation: string | undefined;
}

function refuse(message: string): never {
  throw new InvalidArgumentError(message);
}

export function checkOptions(options: IdempotentOptions, handler: unknown): Settings {
  if (typeof handler !== "function")
    refuse("idempotent takes a function as its last argument: (request, execution) => Response.");
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined) refuse(`idempotent knows no option "${unknown}". Known: ${known.join(", ")}.`);
  if (typeof options.coord?.once !== "function")
    refuse("coord must be a coordinator: createCoordinator({ … }).");
  if (typeof options.scope !== "function") {
    refuse(
      'scope must be a function that says whose request it is, so that nobody gets the answer to somebody else\'s. An API with a single client says () => "client".',
    );
  }
  const { methods = ["POST", "PATCH"], required = true, maxRequestBytes = 1_048_576 } = options;
  const { fingerprint = sha256Of, documentation } = options;
  if (!Number.isInteger(maxRequestBytes) || maxRequestBytes < 0)
    refuse(`maxRequestBytes must be an integer from 0, got ${String(maxRequestBytes)}.`);
  const upper = methods.map((method) => method.toUpperCase());
  return { methods: new Set(upper), required, maxRequestBytes, fingerprint, documentation };
}
