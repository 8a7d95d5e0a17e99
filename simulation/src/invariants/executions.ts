import type { OnceResult } from "@coord/core";
import type { OnceCall, Run } from "../book.ts";
import { readExecution } from "../book.ts";
import { grantKey } from "../ledger.ts";
import type { Observer, Sim } from "../sim.ts";
import type { Step } from "../store.ts";
import { isExcused } from "./exclusion.ts";

const isAnswer = (state: string | undefined): boolean => state === "completed" || state === "failed";
const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : "";

/** 8 to 13 and 17: what `once` promises of each key, by its records and by what its callers are told. */
export function executions(sim: Sim): Observer {
  const { world, store, book, ledger, shape } = sim;
  /** Overrules that were applied, by who asked for them. */
  const applied = new Map<string, number>();
  /** The highest fence up to which runs were declared not done, by key. */
  const voided = new Map<string, bigint>();
  /** Grants under which an answer was recorded. */
  const recorded = new Set<string>();
  /** Keys that were forgotten at least once. */
  const forgotten = new Set<string>();
  const isExecution = (id: string): boolean => id.includes("\u0000x\u001F") && !id.endsWith("\u001Fcharge");

  function stepOf(step: Step): void {
    const { before, after, id } = step;
    if (step.op === "prune") {
      const state = readExecution(before)?.state;
      if (before?.sealed === true && !isAnswer(state))
        sim.violate("17 unresolved is kept", `clean-up deleted what is ${state} and nobody has resolved`);
      voided.delete(id);
      forgotten.add(id);
      return book.forget(id);
    }
    if (before === after || after === null) return;
    const was = readExecution(before);
    const is = readExecution(after);
    const answered = before !== null && before.expiresAt === 0 && before.sealed && isAnswer(was?.state);
    if (answered && after.payload !== before.payload)
      sim.violate("9 the first answer stands", `a ${step.op} replaced what was ${was?.state}: ${is?.state}`);
    if (answered && !after.sealed)
      sim.violate("9 the first answer stands", `a ${step.op} opened what was ${was?.state}`);
    if (step.op === "overrule") overruled(step);
    if (step.op === "release") released(step);
  }

  function overruled(step: Extract<Step, { op: "overrule" }>): void {
    if (step.result.outcome !== "overruled" || step.request.payload === undefined) return;
    const { id, request } = step;
    const { state = "", by = "", response } = readExecution(step.after) ?? {};
    if (state === "uncertain") return;
    applied.set(by, (applied.get(by) ?? 0) + 1);
    const asked = book.asked.get(by);
    if (asked?.state !== state)
      return sim.violate("12 decided by somebody", `${by} is said to have decided ${state}, and did not`);
    if (asked.fence !== request.fence)
      sim.violate("12 decided by somebody", `${by} decided on fence ${asked.fence}, not ${request.fence}`);
    if (state === "not-done") voided.set(id, request.fence);
    if (state === "completed" && response !== book.of(id).response)
      sim.violate(
        "9 the first answer stands",
        `${by} recorded another response than ${book.of(id).response}`,
      );
  }

  function released(step: Extract<Step, { op: "release" }>): void {
    const { id, after, request } = step;
    if (step.result.outcome !== "released" || after === null) return;
    const run = book.run(id, after);
    const { state = "", response } = readExecution(after) ?? {};
    const say = (what: string): void =>
      sim.violate("13 the record tells what happened", `${request.grantId} is recorded as ${state}: ${what}`);
    if (run === undefined) {
      if (after.sealed) say("no function ran under it");
      return;
    }
    // In a transaction the answer is written by the function itself.
    if (run.endedAt === undefined && !(run.inTransaction && state === "completed"))
      return say("its function goes on");
    if (state === "executing") return say("it was given back, but its function ran");
    if (state === "completed") {
      recorded.add(grantKey(after));
      if (response !== run.key.response) say(`with ${response}, not ${run.key.response}`);
      if (!run.inTransaction && run.ended !== "returned") say(`its function ${run.ended}`);
      return;
    }
    if (!after.sealed && run.ended === "returned") say("its function returned, and it may run again");
    if (state === "not-done") voided.set(id, after.fence);
    if (state === "uncertain" && (after.retainMs !== null || !after.sealed))
      sim.violate("17 unresolved is kept", `${request.grantId} is uncertain and kept for ${after.retainMs}`);
  }

  function began(run: Run, attempt: number): void {
    const { call, handle, key } = run;
    const { grantId, fence } = handle.grant;
    const say = (rule: string, what: string): void =>
      sim.violate(rule, `${call.label} (${grantId}, fence ${fence}) ${what}`);
    if (call.runs > 1) say("11 started once", "started its function twice");
    if (book.run(handle.id, handle.grant) !== undefined) say("11 started once", "started under a used grant");
    try {
      handle.assertHeld();
    } catch {
      say("11 never started late", "started its function though its claim is over");
    }
    if (isExcused(sim, handle)) return;
    const record = store.peek(handle.id);
    const upTo = voided.get(handle.id) ?? 0n;
    for (const other of key.runs) {
      const old = other.handle.grant.fence;
      if (old <= upTo || call.reruns) continue;
      if (old > fence || isExcused(sim, other.handle)) continue;
      say("8 at most once", `runs, but fence ${old} ran before and nobody said that it was not done`);
    }
    if (record?.fence === fence && isAnswer(readExecution(record)?.state))
      say("8 at most once", "runs though there is an answer");
    // A claim whose process died before its function began counts as well.
    if (attempt <= key.runs.length && !forgotten.has(handle.id))
      say("11 attempts are counted", `is told that it is run ${attempt}, after ${key.runs.length} others`);
  }

  function effect(run: Run): void {
    if (run.effects > 1) sim.violate("8 at most once", `${run.call.label} pays twice in one run`);
    const record = store.peek(run.handle.id) ?? null;
    const isRecorded =
      record?.fence === run.handle.grant.fence && readExecution(record)?.state === "completed";
    if (run.inTransaction && !isRecorded)
      sim.violate("13 committed or not", `${run.call.label} committed, and its answer is not recorded`);
    const others = run.key.runs.filter((other) => other !== run && other.effectAt !== undefined);
    if (others.length === 0 || run.call.reruns || others.some(({ call }) => call.reruns)) return;
    if ([run, ...others].some(({ handle }) => isExcused(sim, handle))) return;
    const names = others.map(({ call }) => call.label).join(", ");
    sim.violate("8 at most once", `${run.call.label} pays, but ${names} paid already`);
  }

  function answered(call: OnceCall, result: OnceResult<unknown>): void {
    const { label, id } = call;
    const say = (rule: string, what: string): void => sim.violate(rule, `${label} ${what}`);
    const run = book.runOf(call);
    if (result.status !== "completed") {
      if (call.runs > 0) say("9 its own run is answered", `ran its function and is told ${result.status}`);
      return;
    }
    const response = String(result.response);
    if (!book.responses.has(response)) say("9 answers are true", `is told ${response}, which nobody paid`);
    else if (!forgotten.has(id) && response !== book.of(id).response)
      say("9 answers are true", `is told ${response}, not ${book.of(id).response}`);
    if (result.replayed && call.runs > 0) say("9 its own run is answered", "is told of another's run");
    if (!result.replayed && call.runs === 0)
      say("9 its own run is answered", "is told of a run it never had");
    const stored = readExecution(store.peek(id) ?? null)?.state;
    if (!forgotten.has(id) && stored !== "completed")
      say("9 answers are true", `is told that it is completed, and the record says ${stored}`);
    const payer = book.call(response.replace("paid by ", ""));
    if (payer !== undefined && payer.input !== call.input)
      say("9 answers are true", `is told ${response}, which was for another input`);
    if (!result.replayed && run !== undefined && !recorded.has(grantKey(run.handle.grant)))
      say("9 answers are true", "is told that its answer is recorded, and it is not");
    if (run !== undefined && run.effectAt === undefined)
      say("13 committed or not", "is told that it is completed, but its own run has had no effect");
  }

  function failed(call: OnceCall, error: unknown): void {
    const { label, id, process } = call;
    const code = codeOf(error);
    const say = (rule: string, what: string): void =>
      sim.violate(rule, `${label} ${what}: ${error instanceof Error ? error.message : String(error)}`);
    const run = book.runOf(call);
    const { current } = ledger.of(id);
    switch (code) {
      case "COORD_UNAVAILABLE":
      case "COORD_CLOSED":
        if (call.runs > 0 && run?.error !== error) say("9 its own error", "ran its function and is told");
        return;
      case "COORD_ONCE_INPUT_DIFFERS":
        if (!forgotten.has(id) && book.calls.every((one) => one.id !== id || one.input === call.input))
          say("10 inputs", "is told of another input, which there is not");
        return;
      case "COORD_RECORDED_FAILURE":
        return;
      case "COORD_OUTCOME_SUPERSEDED":
        if (run === undefined) return;
        if (current?.fence === run.handle.grant.fence && current.ended?.startsWith("overruled") !== true)
          say("13 the record tells what happened", "is told of a decision that nobody made");
        return;
      case "COORD_OUTCOME_NOT_COMMITTED":
        if (run?.inTransaction !== true) say("13 committed or not", "had no transaction and is told");
        else if (run.effectAt !== undefined) say("13 committed or not", "committed and is told");
        return;
      case "COORD_RESPONSE_NOT_STORED":
        // Every answer of these functions can be stored, so it is the store that did not confirm.
        if (run?.ended !== "returned") say("9 its own error", `its function ${run?.ended}, and it is told`);
        return;
      default:
        if (error instanceof Error && error.message === "not wanted any more") return;
        if (call.runs === 0 || run === undefined) return say("errors", "got what no user should see");
        if (run.inTransaction && run.effectAt !== undefined && isCalm(run))
          say("13 committed or not", "committed, and gets");
        if (run.error !== error && !(run.error instanceof Error && run.error.cause === error))
          say("9 its own error", `on ${process.name} gets another error than its function threw`);
    }
  }

  const isCalm = ({ handle: { process }, effectAt = 0 }: Run): boolean =>
    Math.max(process.troubledAt, store.troubledAt, process.suspendedUntil) <= effectAt;

  /** 10 and the end of 9: what is left at rest. */
  function left(): void {
    for (const [id, record] of store.records) {
      if (!isExecution(id) || record.expiresAt === 0 || !record.sealed) continue;
      if (record.expiresAt > store.nowMs()) continue;
      const run = book.run(id, record);
      const owner = book.call(record.holder);
      const dead = owner === undefined || owner.process.life !== owner.life;
      if (run === undefined) {
        if (!dead && !forgotten.has(id))
          sim.violate("10 uncertain has a run", `${record.grantId} is uncertain, but nothing ran under it`);
        continue;
      }
      if (dead || run.endedAt === undefined) continue;
      const { process } = run.handle;
      const calmAt = Math.max(process.troubledAt, store.troubledAt, process.suspendedUntil);
      if (run.endedAt + run.maxHoldMs < calmAt + 5000 || process.clockJumpedAt > run.endedAt) continue;
      sim.violate(
        "9 outcomes are recorded",
        `the function of ${run.call.label} ${run.ended}, and ${record.grantId} says nothing of it`,
      );
    }
    for (const { label, settledAt, process, life } of book.calls)
      if (settledAt === undefined && process.life === life)
        sim.violate("15 nothing hangs", `${label} still waits for an answer`);
  }

  return {
    step(step) {
      if (isExecution(step.id)) stepOf(step);
    },
    began: (run, { attempt }) => began(run, attempt),
    effect,
    asserted({ id, grant, holder, process }) {
      const run = isExecution(id) ? book.run(id, grant) : undefined;
      if (run === undefined || process.deceivedAt >= run.call.askedAt) return;
      const heldMs = world.now() - run.beganAt;
      if (heldMs > run.maxHoldMs + 50)
        sim.violate("11 never too long", `${holder} holds its claim for ${heldMs.toFixed(0)} ms`);
    },
    probed(call, fence) {
      const record = store.peek(call.id);
      if (record?.fence !== fence || record.expiresAt === 0 || store.steppedAt > -Infinity) return;
      const lapsedMs = store.nowMs() - record.expiresAt;
      if (lapsedMs < shape.ttlMs - 1)
        sim.violate(
          "10 asked in time",
          `${call.label} asks what became of ${record.grantId}, which lapsed ${lapsedMs.toFixed(0)} ms ago`,
        );
    },
    answered(call, outcome) {
      if ("result" in outcome) answered(call, outcome.result);
      else failed(call, outcome.error);
    },
    resolved(by, id, error) {
      const times = applied.get(by) ?? 0;
      const code = codeOf(error);
      if (times > 1) sim.violate("12 one overrule", `the decision of ${by} was applied ${times} times`);
      if (error === undefined && times === 0)
        sim.violate("12 overrules are known", `${by} is told that it is resolved, and it is not`);
      if (code === "COORD_MOVED" && times > 0 && !forgotten.has(id))
        sim.violate("12 overrules are known", `${by} is told that it is moved, but its decision was applied`);
      const usual = ["COORD_MOVED", "COORD_UNAVAILABLE", "COORD_CLOSED"];
      if (error !== undefined && !usual.includes(code))
        sim.violate("errors", `${by} got what no operator should see: ${String(error)}`);
    },
    settled: left,
  };
}
