import { ExecutionRunningError, UncertainError } from "./errors.ts";
import type { OnceResult, OnError } from "./once-api.ts";

/** The response of a completed execution; throws `ExecutionRunningError` or `UncertainError` for others. */
export function unwrap<T>(result: OnceResult<T>): T {
  if (result.status === "completed") return result.response;
  throw result.status === "running" ? new ExecutionRunningError(result) : new UncertainError(result);
}

const brand = Symbol.for("coord.not-done");

/**
 * `throw notDone(error)` inside the function of `once`: the effect did not happen and will not any more, so
 * the next call runs it again. The caller gets `error` itself.
 */
export function notDone(error: unknown): Error {
  const thrown = new Error("Not done.", { cause: error });
  thrown.name = "NotDone";
  return Object.defineProperty(thrown, brand, { value: true });
}

const isNotDone = (error: unknown): error is Error => error instanceof Error && brand in error;

/** What the caller gets of what was thrown, and what becomes of the execution. */
export function judge(
  thrown: unknown,
  onError: OnError | ((error: unknown) => OnError),
): { readonly error: unknown; readonly state: "uncertain" | "not-done" | "failed" } {
  if (isNotDone(thrown)) return { error: thrown.cause, state: "not-done" };
  let verdict: unknown = onError;
  if (typeof onError === "function") {
    try {
      verdict = onError(thrown);
    } catch {
      verdict = "uncertain"; // A judge that fails must not be taken for "it did not happen".
    }
  }
  const state = verdict === "retryable" ? "not-done" : verdict === "final" ? "failed" : "uncertain";
  return { error: thrown, state };
}

/** What was stored as this key's response, as its callers say it is: the record knows no types. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- what it is for
export function asResponse<T>(stored: unknown): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where the store's word is taken
  return stored as T;
}
