import { isCoordError, OutcomeError } from "./errors.ts";
import type { RunningExecution } from "./execution.ts";
import { storable } from "./execution.ts";
import type { Holding } from "./holding.ts";
import { judge } from "./once-outcome.ts";
import type { Plan } from "./once-plan.ts";
import { complete, decode, encode, settle } from "./once-record.ts";
import type { ExecutionPayload, Writer } from "./once-record.ts";

/** A run whose function has settled, and whose record has not. */
export interface Settling {
  readonly execution: RunningExecution;
  readonly holding: Holding;
  readonly plan: Pick<Plan<never, never>, "retainMs" | "maxHoldMs" | "maxResponseBytes" | "onError">;
  readonly writer: () => Writer;
}

export type Ended = { readonly returned: unknown } | { readonly thrown: unknown };

/** Records how the function ended, and gives the recorded response or throws what its caller must know. */
export async function record(settling: Settling, ended: Ended): Promise<unknown> {
  if ("thrown" in ended) return await recordError(settling, ended.thrown);
  return await (settling.execution.completing ? recordCommit : recordResponse)(settling, ended.returned);
}

/** Ends the claim with this payload. Answers what stands in the record: another end of this claim, if it came first. */
async function end(
  { holding, plan }: Settling,
  payload: ExecutionPayload,
): Promise<ExecutionPayload | "lost"> {
  const result = await holding.release({
    sealed: payload.state !== "not-done",
    payload: encode(payload),
    // Nobody may run it again before somebody found out what happened.
    retainMs: payload.state === "uncertain" ? null : plan.retainMs,
    // An outcome that is true stays worth telling when the claim has lapsed: the seal keeps others out.
    repeatMs: plan.maxHoldMs,
  });
  if (result.outcome === "lost") return "lost";
  return result.record === undefined ? payload : (decode(result.record.payload) ?? payload);
}

async function recordError(settling: Settling, thrown: unknown): Promise<unknown> {
  const { execution, plan, writer } = settling;
  const { error, state: judged } = judge(thrown, plan.onError);
  // A rerun that did nothing says nothing of the run before it, which is as uncertain as it was.
  const state = judged === "not-done" ? (execution.payload.before ?? judged) : judged;
  const payload = settle(execution.payload, execution.fence, state, writer(), { thrown: error });
  // Unconfirmed: repeated in the background, and uncertain if that fails too. The caller needs its own error.
  const stands = await end(settling, payload).catch(() => undefined);
  if (stands !== undefined && stands !== "lost" && stands.state === "completed")
    return stands.response?.value;
  throw error;
}

/** The function ended a transaction with the outcome in it: whether that was committed, the record tells. */
async function recordCommit(settling: Settling, returned: unknown): Promise<unknown> {
  const { execution, writer } = settling;
  const { key, fence, payload } = execution;
  const notCommitted = new OutcomeError(
    "COORD_OUTCOME_NOT_COMMITTED",
    execution,
    `The function of "${key}" (fence ${fence}) returned, but the transaction with its outcome was not committed. It is uncertain now: commit before the function returns.`,
    { response: returned },
  );
  // The first end of a claim stands, so this one can't replace a commit; it waits for one that is under way.
  const uncertain = settle(payload, fence, "uncertain", writer(), { thrown: notCommitted });
  const stands = await end(settling, { ...uncertain }).catch((cause: unknown) => {
    throw unconfirmed(settling, returned, cause);
  });
  if (stands === "lost") throw superseded(execution, returned);
  if (stands.state === "completed") return stands.response?.value;
  throw notCommitted;
}

async function recordResponse(settling: Settling, returned: unknown): Promise<unknown> {
  const { execution, plan, writer } = settling;
  const { fence, payload } = execution;
  let value: unknown;
  try {
    value = storable(returned, plan.maxResponseBytes);
  } catch (cause) {
    return await recordWithout(settling, returned, cause);
  }
  let stands;
  try {
    stands = await end(settling, complete(payload, fence, { value }, writer()));
  } catch (cause) {
    // The store does not take this payload, which a smaller one may mend.
    if (isCoordError(cause, "COORD_INVALID_ARGUMENT")) return await recordWithout(settling, returned, cause);
    throw unconfirmed(settling, returned, cause);
  }
  if (stands === "lost") throw superseded(execution, returned);
  return stands.response?.value;
}

/** The effect has happened: the record says so, though it can't say with which response. */
async function recordWithout(settling: Settling, returned: unknown, cause: unknown): Promise<never> {
  const { execution, writer } = settling;
  const { key, fence, payload } = execution;
  const why = cause instanceof Error ? cause.message : String(cause);
  const stands = await end(settling, complete(payload, fence, { notStored: why }, writer())).catch(
    (unknown: unknown) => {
      throw unconfirmed(settling, returned, unknown);
    },
  );
  if (stands === "lost") throw superseded(execution, returned);
  throw new OutcomeError(
    "COORD_RESPONSE_NOT_STORED",
    execution,
    `"${key}" (fence ${fence}) is recorded as completed, but its response could not be stored: ${why}`,
    { cause, response: returned },
  );
}

function unconfirmed({ execution }: Settling, response: unknown, cause: unknown): OutcomeError {
  const { key, fence } = execution;
  return new OutcomeError(
    "COORD_RESPONSE_NOT_STORED",
    execution,
    `The function of "${key}" (fence ${fence}) is done, but the store did not confirm its response. Telling the store goes on in the background; should that fail too, the execution is uncertain.`,
    { cause, response },
  );
}

function superseded(execution: RunningExecution, response: unknown): OutcomeError {
  const { key, fence } = execution;
  return new OutcomeError(
    "COORD_OUTCOME_SUPERSEDED",
    execution,
    `The function of "${key}" (fence ${fence}) is done, but somebody has resolved this execution meanwhile: its response was not recorded. Compare it with coord.executions.get("${key}").`,
    { response },
  );
}
