import { type CoordErrorCode, type Execution, isCoordError, type OnceResult } from "@coord/core";
import { parseKey } from "./key.ts";
import { checkOptions, prefixOf } from "./options.ts";
import type { Handler, HttpProbeAnswer, IdempotentOptions, Verdict } from "./options.ts";
import { answerOf, type ProblemCode, problemOf } from "./problem.ts";
import { readBody, withBody } from "./request-body.ts";
import { isStored, readResponse, replay, type StoredResponse } from "./stored-response.ts";

/** A response that is not to be kept: carried past `once`, which knows it as what the function threw. */
class Unkept extends Error {
  readonly response: Response;
  readonly verdict: Exclude<Verdict, "completed">;
  constructor(response: Response, verdict: Exclude<Verdict, "completed">) {
    super(`The response has status ${response.status}.`);
    this.name = `Status${response.status}`; // the log of the execution keeps it
    this.response = response;
    this.verdict = verdict;
  }
}

/**
 * The handler as one that runs at most once per `Idempotency-Key` and answers every repeat with its first response,
 * as draft-ietf-httpapi-idempotency-key-header says. Throws `InvalidArgumentError` for what is wrong with its
 * options, here or (the times) at the first request.
 */
export function idempotent<Context extends unknown[] = []>(
  options: IdempotentOptions,
  handler: Handler<Context>,
): (request: Request, ...context: Context) => Promise<Response> {
  const settings = checkOptions(options, handler);
  const { methods, required, maxRequestBytes, documentation } = settings;
  const answer = async (code: ProblemCode, detail: string): Promise<Response> => {
    const problem = problemOf(code, detail, documentation);
    return options.problem === undefined ? answerOf(problem, documentation) : await options.problem(problem);
  };

  return async (request, ...context) => {
    const field = methods.has(request.method) ? request.headers.get("idempotency-key") : null;
    if (field === null) {
      if (!required || !methods.has(request.method)) return await handler(request, undefined, ...context);
      return await answer(
        "idempotency-key-missing",
        "Send the header Idempotency-Key with a value of your own for each request, such as a UUID in double quotes, and the same value when you repeat the request.",
      );
    }
    const parsed = parseKey(field);
    if ("wrong" in parsed)
      return await answer("idempotency-key-malformed", `The Idempotency-Key can't be used: ${parsed.wrong}.`);
    const key = `${prefixOf(await options.scope(request))}${parsed.key}`;
    const body = await readBody(request, maxRequestBytes);
    if (body === undefined)
      return await answer("request-too-large", `A request has at most ${maxRequestBytes} bytes.`);
    const input = await settings.fingerprint(request, body);
    return await runOnce(options, { request, key, input, answer }, async (execution) =>
      handler(withBody(request, body, execution.signal), execution, ...context),
    );
  };
}

interface Asked {
  readonly request: Request;
  readonly key: string;
  readonly input: string;
  readonly answer: (code: ProblemCode, detail: string) => Promise<Response>;
}

async function runOnce(
  options: IdempotentOptions,
  { request, key, input, answer }: Asked,
  handle: (execution: Execution) => Promise<Response>,
): Promise<Response> {
  const { verdict = ({ status }: Response): Verdict => (status < 500 ? "completed" : "uncertain") } = options;
  const { onError = "uncertain", probe } = options;
  const { ttlMs, maxHoldMs, waitMs, onUncertain, rerunWithinMs, retainMs, holder } = options;
  let began = false;
  let own: Response | undefined;
  let result: OnceResult<StoredResponse>;
  try {
    result = await options.coord.once<StoredResponse, string>(
      key,
      {
        ttlMs,
        maxHoldMs,
        waitMs,
        onUncertain,
        rerunWithinMs,
        retainMs,
        holder,
        input,
        signal: request.signal,
        onError: (error) => {
          if (error instanceof Unkept) return error.verdict;
          return typeof onError === "function" ? onError(error) : onError;
        },
        ...(probe !== undefined && { probe: async (execution) => answerOfProbe(await probe(execution)) }),
      },
      async (_, execution) => {
        began = true;
        const { stored, response } = await readResponse(await handle(execution));
        const meant = verdict(response);
        if (meant !== "completed") throw new Unkept(response, meant);
        own = response;
        return stored;
      },
    );
  } catch (error) {
    if (error instanceof Unkept) return error.response;
    // What the handler itself threw is its framework's to answer; what `once` says of the outcome is not.
    if (began && !isOutcome(error, key)) throw error;
    return await failed(error, own, answer);
  }
  if (result.status === "running") {
    return await answer(
      "request-running",
      "The first request with this Idempotency-Key is not done yet. Repeat it later.",
    );
  }
  if (result.status === "uncertain") return await answer("outcome-uncertain", uncertain);
  if (own !== undefined && !result.replayed) return own;
  // An operator may have resolved it with what is no response.
  if (!isStored(result.response)) return await answer("response-not-stored", carriedOut);
  return replay(result.response, result.replayed);
}

const carriedOut = "The request was carried out, but its response could not be kept. Read what it changed.";
const uncertain =
  "The request with this Idempotency-Key was begun, and may have been carried out or not. It is not carried out again. Do not send it with another key; repeat it with this one until it is settled.";
const notLookedUp =
  "It could not be looked up whether this request was carried out before, so nothing was carried out now. Repeat it with the same Idempotency-Key.";

/** What `once` says of the outcome of this key, as opposed to what the handler threw. */
const isOutcome = (error: unknown, key: string): boolean =>
  isCoordError(error) &&
  error.code !== "COORD_LEASE_LOST" &&
  "response" in error &&
  "key" in error &&
  error.key === key;

/** What `once` said instead of a result, in the words of the wrapper. */
const told: Partial<Record<CoordErrorCode, readonly [ProblemCode, string]>> = {
  COORD_RESPONSE_NOT_STORED: ["response-not-stored", carriedOut],
  COORD_OUTCOME_SUPERSEDED: ["outcome-uncertain", uncertain],
  COORD_OUTCOME_NOT_COMMITTED: ["outcome-uncertain", uncertain],
  COORD_ONCE_INPUT_DIFFERS: [
    "input-differs",
    "This Idempotency-Key was sent with another request before. Send this request with a key of its own.",
  ],
  COORD_RECORDED_FAILURE: [
    "request-failed",
    "It was decided that this request failed for good: it is not carried out any more with this Idempotency-Key.",
  ],
  COORD_UNAVAILABLE: ["store-unavailable", notLookedUp],
  COORD_CLOSED: ["store-unavailable", notLookedUp],
};

async function failed(error: unknown, own: Response | undefined, answer: Asked["answer"]): Promise<Response> {
  const known = isCoordError(error) ? told[error.code] : undefined;
  if (known === undefined) throw error;
  // It is true, though nobody will get it again.
  if (known[0] === "response-not-stored" && own !== undefined) return own;
  return await answer(...known);
}

async function answerOfProbe(answer: HttpProbeAnswer) {
  if (answer.status !== "completed") return { status: answer.status };
  return { status: answer.status, response: (await readResponse(answer.response)).stored };
}
