import { obtain } from "./acquire.ts";
import type { AcquireSpec, Obtained } from "./acquire.ts";
import { call, callLimitMs } from "./call.ts";
import {
  AcquireTimeoutError,
  CoordError,
  InvalidArgumentError,
  OutcomeError,
  RecordedFailureError,
} from "./errors.ts";
import { onceChannel, traced } from "./events.ts";
import type { OnceEvent } from "./events.ts";
import { RunningExecution } from "./execution.ts";
import type { Holding, Keepers } from "./holding.ts";
import { show } from "./json.ts";
import type { Completed, OnceOptions, OnceResult, Running, Work } from "./once-api.ts";
import { asResponse } from "./once-outcome.ts";
import { planOf } from "./once-plan.ts";
import type { Plan } from "./once-plan.ts";
import { claim, encode, inputDiffers, standingOf } from "./once-record.ts";
import type { ExecutionPayload, Standing } from "./once-record.ts";
import { record } from "./once-settle.ts";
import { reconcile } from "./reconcile.ts";
import type { Register } from "./register.ts";
import type { Contexts } from "./with-lease.ts";

/** What `once` needs of the coordinator that it belongs to. */
export interface OnceParts {
  readonly keepers: Keepers;
  readonly contexts: Contexts;
  /** What a close waits for. */
  readonly working: Register<object>;
  readonly holder: string;
  readonly ttlMs: number;
  /** Runs what begins work, unless the coordinator is closed; the signal is aborted by a close too. */
  admit<T>(
    work: { readonly id: string; readonly key: string; readonly signal: AbortSignal | undefined },
    run: (signal: AbortSignal) => Promise<T>,
  ): Promise<T>;
}

/** `Once` without the check of types that only its callers need. */
export type UncheckedOnce = <Input, T>(
  key: string,
  ...rest: [Work<Input, T>] | [OnceOptions<Input, T>, Work<Input, T>]
) => Promise<OnceResult<T>>;

interface Claimed {
  readonly holding: Holding;
  readonly payload: ExecutionPayload;
  readonly retainMs: number | null;
}

export function createOnce(parts: OnceParts): UncheckedOnce {
  const { keepers, working } = parts;
  const { backend, namespace } = keepers;

  async function once<Input, T>(
    key: string,
    ...rest: [Work<Input, T>] | [OnceOptions<Input, T>, Work<Input, T>]
  ): Promise<OnceResult<T>> {
    const [first, second] = rest;
    const work = typeof first === "function" ? first : second;
    if (typeof work !== "function") {
      throw new InvalidArgumentError(
        `once takes a function as its last argument, got ${show(work)}. Pass async (input, execution) => { … }.`,
      );
    }
    const own = { namespace, info: backend.info, holder: parts.holder, ttlMs: parts.ttlMs };
    const plan = planOf(key, typeof first === "function" ? {} : first, own);
    const event: OnceEvent = { backend: backend.info.name, namespace, kind: "execution", key };
    const token = {};
    working.add(token);
    try {
      return await traced(onceChannel, event, (context) => execute(parts, plan, work, context));
    } finally {
      working.delete(token);
    }
  }
  return once;
}

async function execute<Input, T>(
  parts: OnceParts,
  plan: Plan<Input, T>,
  work: Work<Input, T>,
  event: OnceEvent,
): Promise<OnceResult<T>> {
  const { keepers } = parts;
  const admitted = { id: plan.name.key, key: plan.key, signal: plan.signal };
  for (;;) {
    const claimed = await parts.admit(admitted, (signal) => claimOrAnswer(keepers, plan, signal, event));
    if ("status" in claimed) {
      event.outcome = claimed.status;
      event.replayed = claimed.status === "completed";
      return claimed;
    }
    const { holding, payload, retainMs } = claimed;
    if (holding.state === "held") return await run(parts, plan, work, claimed, event);
    // Too late to begin: nothing ran, and the record must say so.
    const unsealed = { sealed: false, payload: encode(payload), retainMs, repeatMs: Infinity };
    await holding.release(unsealed).catch(() => undefined);
  }
}

/** Claims the key, or gives the answer that stands. One round trip, more where something was undone before. */
async function claimOrAnswer<Input, T>(
  keepers: Keepers,
  plan: Plan<Input, T>,
  signal: AbortSignal,
  event: OnceEvent,
): Promise<Claimed | OnceResult<T>> {
  const { clock } = keepers;
  const { key } = plan;
  const until = clock.now() + plan.waitMs;
  let before: Standing | undefined;
  for (;;) {
    signal.throwIfAborted();
    const asked = claimSpec(keepers, plan, before, Math.max(0, until - clock.now()), signal);
    const obtained = await obtainOrTimeOut(keepers, asked.spec);
    if (obtained instanceof AcquireTimeoutError) {
      const { holder, remainingMs } = obtained;
      return { status: "running", key, holder, remainingMs };
    }
    if (obtained.holding !== undefined)
      return { holding: obtained.holding, payload: asked.payload, retainMs: asked.spec.retainMs };
    const seen = obtained.refused.record;
    before = undefined;
    if (seen === null) continue;
    const standing = standingOf(seen);
    if (inputDiffers(standing, plan.fingerprint)) {
      throw new CoordError(
        "COORD_ONCE_INPUT_DIFFERS",
        `"${key}" was executed with another input. A key stands for one input: take another key, or the input of the first call.`,
      );
    }
    event.attempt = standing.payload.attempt;
    event.fence = standing.fence;
    if (standing.status === "not-done") before = standing;
    else if (standing.status !== "uncertain") return answerOf(plan, standing, event);
    else {
      const reconciled = await reconcile(keepers, plan, standing, until, signal);
      if ("answer" in reconciled) return reconciled.answer;
      before = reconciled.before;
    }
  }
}

async function obtainOrTimeOut(keepers: Keepers, spec: AcquireSpec): Promise<Obtained | AcquireTimeoutError> {
  try {
    return await obtain(keepers, spec);
  } catch (error) {
    if (error instanceof AcquireTimeoutError) return error;
    throw error;
  }
}

function answerOf<Input, T>(
  { key }: Plan<Input, T>,
  { status, payload, fence, holder, remainingMs }: Standing,
  event: OnceEvent,
): Completed<T> | Running {
  if (status === "running") return { status, key, holder, remainingMs };
  if (payload.failure !== undefined) {
    event.outcome = "failed";
    event.replayed = true;
    throw new RecordedFailureError({ key, fence }, payload.failure);
  }
  const { response, notStored, attempt } = payload;
  if (response === undefined) {
    throw new OutcomeError(
      "COORD_RESPONSE_NOT_STORED",
      { key, fence },
      `"${key}" was completed, but its response could not be stored: ${notStored ?? "no reason was given"}`,
    );
  }
  return {
    status: "completed",
    key,
    response: asResponse(response.value),
    replayed: true,
    fence,
    attempt,
  };
}

/** A claim after what was read, and how it is undone when nobody waits for its answer any more. */
function claimSpec<Input, T>(
  { host, backend }: Keepers,
  plan: Plan<Input, T>,
  before: Standing | undefined,
  waitMs: number,
  signal: AbortSignal,
): { readonly spec: AcquireSpec; readonly payload: ExecutionPayload } {
  const { key, name, ttlMs, maxHoldMs, holder, fingerprint } = plan;
  const payload = claim(
    before,
    { fingerprint, ttlMs, retainMs: plan.retainMs },
    { at: host.wallMs(), by: holder },
  );
  // What is uncertain is kept until it is resolved, also when this claim comes to nothing.
  const retainMs = before?.status === "uncertain" ? null : plan.retainMs;
  const ifFence = before?.fence ?? 0n;
  const limitMs = callLimitMs(ttlMs);
  async function giveBack(grantId: string): Promise<void> {
    const released = before?.state === "free";
    const closed = { name, grantId: host.randomId(), fence: ifFence, released, sealed: false, retainMs };
    // After this a claim that is still on its way is refused.
    const result = await call(host, { what: `overrule of "${key}"`, limitMs }, (options) =>
      backend.overrule(closed, options),
    );
    if (result.outcome === "overruled") return;
    const mine = { name, grantId, fence: null, sealed: false, retainMs };
    await call(host, { what: `release of "${key}"`, limitMs }, (options) => backend.release(mine, options));
  }
  const spec: AcquireSpec = {
    kind: "execution",
    key,
    ttlMs,
    maxHoldMs,
    waitMs,
    retainMs,
    holder,
    signal,
    sealed: true,
    payload: encode(payload),
    ifFence,
    withPayload: true,
    waitsAfter: ({ reason, record: seen }) =>
      reason === "held" && seen !== null && !inputDiffers(standingOf(seen), fingerprint),
    giveBack,
  };
  return { spec, payload };
}

/** The function, and what becomes of its record. */
async function run<Input, T>(
  { keepers, contexts }: OnceParts,
  plan: Plan<Input, T>,
  work: Work<Input, T>,
  { holding, payload }: Claimed,
  event: OnceEvent,
): Promise<Completed<T>> {
  const { host, namespace } = keepers;
  const { key, retainMs, maxResponseBytes, holder } = plan;
  const writer = (): { at: number; by: string } => ({ at: host.wallMs(), by: holder });
  const execution = new RunningExecution(holding, payload, { namespace, retainMs, maxResponseBytes, writer });
  const { fence, attempt } = execution;
  Object.assign(event, { fence, attempt, replayed: false });
  const settling = { execution, holding, plan, writer };
  let ended: { readonly returned: unknown } | { readonly thrown: unknown };
  try {
    const returned = await contexts.run(plan.name.key, async () => work(plan.input, execution));
    ended = { returned };
  } catch (thrown) {
    ended = { thrown };
  }
  await execution.saving;
  event.outcome = "thrown" in ended ? "threw" : "completed";
  const response = await record(settling, ended);
  event.outcome = "completed";
  return { status: "completed", key, response: asResponse(response), replayed: false, fence, attempt };
}
