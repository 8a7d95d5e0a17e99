import type { Name, OverruleResult } from "./backend.ts";
import { ask, call, longestCallMs, untilKnown } from "./call.ts";
import type { Runtime } from "./call.ts";
import { adminLimitMs } from "./clean-up.ts";
import { sleep } from "./clock.ts";
import { InvalidArgumentError } from "./errors.ts";
import { idempotencyKeyOf, storable } from "./execution.ts";
import { show } from "./json.ts";
import type { Completed, ProbeAnswer, Uncertain } from "./once-api.ts";
import { asResponse } from "./once-outcome.ts";
import type { Plan } from "./once-plan.ts";
import { complete, encode, rerun, settle } from "./once-record.ts";
import type { ExecutionPayload, Standing, Writer } from "./once-record.ts";

/** What is to be written over a standing. */
export interface Decided {
  readonly payload: ExecutionPayload;
  readonly sealed: boolean;
  readonly retainMs: number | null;
}

/** Writes a decision over what was read, under the id that stands in the decision's log; repeated while unknown. */
export function overrule(
  runtime: Runtime,
  name: Name,
  read: Pick<Standing, "fence" | "state">,
  { payload, sealed, retainMs }: Decided,
  grantId: string,
): Promise<OverruleResult> {
  const { host, clock, backend } = runtime;
  const released = read.state === "free";
  const limitMs = longestCallMs;
  const request = { name, grantId, fence: read.fence, released, sealed, payload: encode(payload), retainMs };
  return untilKnown(runtime, { until: clock.now() + 2 * limitMs }, () =>
    call(host, { what: "overrule of an execution", limitMs }, (options) =>
      backend.overrule(request, options),
    ),
  );
}

/** What an uncertain execution came to: an answer, or what a claim comes after; `undefined` = ask anew. */
export type Reconciled<T> =
  | { readonly answer: Completed<T> | Uncertain }
  | { readonly before: Standing | undefined };

/** Asks the probe about an uncertain execution, or opens it for another run, as the caller has chosen. */
export async function reconcile<Input, T>(
  runtime: Runtime,
  plan: Plan<Input, T>,
  standing: Standing,
  until: number,
  signal: AbortSignal,
): Promise<Reconciled<T>> {
  const { key, name } = plan;
  const { fence, payload } = standing;
  const uncertain: Uncertain = { status: "uncertain", key, fence, attempt: payload.attempt };
  let answer: Uncertain = uncertain;
  if (plan.probe !== undefined) {
    const restMs = await untilProbeMs(runtime, plan, standing);
    if (restMs > 0) {
      if (runtime.clock.now() + restMs > until) return { answer };
      await sleep(runtime.host, restMs, signal);
      return { before: undefined };
    }
    const probed = await askProbe(runtime, plan, standing, signal);
    signal.throwIfAborted();
    if ("cause" in probed) answer = { ...uncertain, cause: probed.cause };
    else if (probed.status !== "unknown") return await apply(runtime, plan, standing, probed);
  }
  const { rerunWithinMs } = plan;
  const tooOld = runtime.host.wallMs() - payload.startedAt > (rerunWithinMs ?? 0);
  if (rerunWithinMs === undefined || tooOld) return { answer };
  // Opened by somebody who did not run it then.
  if (!standing.sealed) return { before: standing };
  const writer = writerOf(runtime, plan.holder);
  const decided = { payload: rerun(payload, fence, writer), sealed: false, retainMs: null };
  const result = await overrule(runtime, name, standing, decided, writer.id);
  return result.outcome === "moved"
    ? { before: undefined }
    : { before: { ...standing, ...decided, fence: result.fence, state: "free" } };
}

/** Who decides, and when; the id tells a decision again whose answer was lost. */
export const writerOf = ({ host }: Runtime, by: string, note?: string): Writer & { readonly id: string } => ({
  at: host.wallMs(),
  by,
  ...(note !== undefined && { note }),
  id: host.randomId(),
});

/**
 * One ttl after the lapse by the store's clock, a function that was cut off has had time to notice. One that
 * threw is over.
 */
async function untilProbeMs<Input, T>(
  runtime: Runtime,
  plan: Plan<Input, T>,
  standing: Standing,
): Promise<number> {
  if (standing.state !== "lapsed") return 0;
  const { clock } = await ask(runtime, "diagnose", adminLimitMs, (options) =>
    runtime.backend.diagnose(options),
  );
  return standing.expiresAt + (standing.payload.ttlMs || plan.ttlMs) - clock.storeMs;
}

type Probed = ProbeAnswer<unknown> | { readonly cause: unknown };

async function askProbe<Input, T>(
  { namespace }: Runtime,
  { key, input, probe, maxResponseBytes }: Plan<Input, T>,
  { fence, payload }: Standing,
  signal: AbortSignal,
): Promise<Probed> {
  const { attempt, progress, startedAt } = payload;
  const idempotencyKey = idempotencyKeyOf(namespace, key);
  const execution = { key, idempotencyKey, fence, attempt, input, progress, signal };
  try {
    const answer = await probe?.({ ...execution, startedAt: new Date(startedAt) });
    if (answer?.status === "completed")
      return { status: "completed", response: storable(answer.response, maxResponseBytes) };
    if (answer?.status === "not-done" || answer?.status === "unknown") return answer;
    throw new InvalidArgumentError(
      `The probe of "${key}" must answer { status: "completed", response }, { status: "not-done" } or { status: "unknown" }, got ${show(answer)}.`,
    );
  } catch (cause) {
    return { cause };
  }
}

async function apply<Input, T>(
  runtime: Runtime,
  { key, name, holder, retainMs }: Plan<Input, T>,
  standing: Standing,
  answer: Exclude<ProbeAnswer<unknown>, { readonly status: "unknown" }>,
): Promise<Reconciled<T>> {
  const { payload, fence } = standing;
  const writer = writerOf(runtime, holder, "probe");
  if (answer.status === "not-done") {
    const decided = { payload: settle(payload, fence, "not-done", writer), sealed: false, retainMs };
    const result = await overrule(runtime, name, standing, decided, writer.id);
    if (result.outcome === "moved") return { before: undefined };
    return {
      before: { ...standing, ...decided, status: "not-done", fence: result.fence, state: "free" },
    };
  }
  const completed = complete(payload, fence, { value: answer.response }, writer);
  const decided = { payload: completed, sealed: true, retainMs };
  const result = await overrule(runtime, name, standing, decided, writer.id);
  if (result.outcome === "moved") return { before: undefined };
  return {
    answer: {
      status: "completed",
      key,
      response: asResponse(answer.response),
      replayed: true,
      fence: result.fence,
      attempt: payload.attempt,
    },
  };
}
