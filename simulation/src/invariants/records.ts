import type { LedgerGrant } from "../ledger.ts";
import { dueMs, isNewGrant } from "../ledger.ts";
import type { Observer, Sim } from "../sim.ts";
import type { Step } from "../store.ts";

/** 6, 7, 17: what may be written into a record, and when it may go. */
export function records(sim: Sim): Observer {
  const { ledger } = sim;

  function released(step: Step, current: LedgerGrant | undefined): void {
    if (current?.ended !== "released" || step.before === step.after) return;
    const allowed =
      isNewGrant(step) ||
      step.op === "prune" ||
      (step.op === "overrule" && step.result.outcome === "overruled");
    if (!allowed)
      sim.violate(
        "6 released is final",
        `a ${step.op} changed the record after the release of ${current.grantId}`,
      );
  }

  function spent(step: Step): void {
    if (step.op !== "acquire" || step.result.outcome !== "granted") return;
    const { current: old } = ledger.of(step.id);
    if (old?.ended === undefined || step.before?.grantId !== old.grantId) return;
    if (step.request.grantId !== old.grantId) return;
    sim.violate("6 released is final", `grant ${old.grantId} was ${old.ended} and is granted again`);
  }

  function refused(step: Step): void {
    const failed =
      (step.op === "acquire" && step.result.outcome === "refused") ||
      (step.op === "renew" && step.result !== "renewed") ||
      (step.op === "release" && step.result.outcome === "lost") ||
      (step.op === "overrule" && step.result.outcome === "moved");
    if (failed && step.before !== step.after)
      sim.violate("6 a no changes nothing", `a refused ${step.op} changed the record`);
  }

  /** Each yes is given only to whom it belongs. */
  function rightful(step: Step, current: LedgerGrant | undefined): void {
    const say = (what: string): void => sim.violate("6 only its grant", `${step.op}: ${what}`);
    if (step.op === "renew" && step.result === "renewed") {
      const { grantId, fence, payload, payloadSeq = 0 } = step.request;
      if (current?.grantId !== grantId || current.fence !== fence || current.ended !== undefined)
        say(
          `${grantId} with fence ${fence} was renewed, but the grant is ${current?.grantId} (${current?.fence})`,
        );
      if (step.before !== null && step.before.expiresAt <= step.nowMs - 1)
        say(`the lapsed ${grantId} was revived`);
      if (payload !== undefined && step.before !== null && step.after !== null) {
        const stored = step.after.payload === payload && step.before.payload !== payload;
        if (stored && payloadSeq <= step.before.payloadSeq)
          say(`save ${payloadSeq} was stored over a newer one`);
      }
      if (step.before !== null && step.after !== null && step.after.expiresAt < step.before.expiresAt)
        say(`the expiry of ${grantId} was shortened`);
    }
    if (step.op === "release" && step.result.outcome === "released") {
      const { grantId, fence } = step.request;
      if (current?.grantId !== grantId || (fence !== null && fence !== current.fence))
        say(
          `${grantId} with fence ${fence} was released, but the grant is ${current?.grantId} (${current?.fence})`,
        );
    }
    if (step.op === "release" && step.result.outcome === "lost") {
      const { grantId, fence } = step.request;
      if (step.before?.grantId === grantId && (fence === null || fence === step.before.fence))
        say(`the release of ${grantId} was refused, though nobody has touched its record`);
    }
    if (step.op === "overrule" && step.result.outcome === "overruled") {
      const { request, before } = step;
      if (before?.grantId === request.grantId) return;
      if ((before?.fence ?? 0n) !== request.fence)
        say(`fence ${request.fence} was given, ${before?.fence} was there`);
      if (before !== null && before.expiresAt === 0 && !request.released)
        say("it was released since it was read");
      if (step.after?.grantId !== request.grantId)
        say("the grant of the overruled holder stays in the record");
    }
    if (step.op === "acquire" && isNewGrant(step)) {
      const { ifFence, from } = step.request;
      if (ifFence !== undefined && ifFence !== (step.before?.fence ?? 0n))
        say(`ifFence ${ifFence} did not match`);
      if (
        from !== undefined &&
        (current?.grantId !== from.grantId || current.fence !== from.fence || current.ended)
      )
        say(`adopted from ${from.grantId}, which does not hold it`);
      if (from !== undefined && current !== undefined && current.promisedMs + 1 < step.nowMs)
        say(`adopted from ${from.grantId}, which lapsed`);
      if (from === undefined && step.before?.sealed) say("a sealed record was handed out");
      if (
        step.request.payload === undefined &&
        step.before !== null &&
        step.after?.payload !== step.before.payload
      )
        say("the payload did not outlive the grant");
      if (step.after?.payloadSeq !== 0) say("a new grant begins with the saves of the old one");
    }
    if (step.op === "acquire" && step.result.outcome === "granted" && !isNewGrant(step)) {
      const { before, after } = step;
      if (before === null || after === null) return;
      if (after.payload !== before.payload) say("a repeat of it undid a save");
      if (after.expiresAt < before.expiresAt) say("a repeat of it shortened the expiry");
      if (before.expiresAt <= step.nowMs - 1) say("a repeat of it revived a lapsed grant");
    }
  }

  function deletion(step: Step, current: LedgerGrant | undefined): void {
    const { before } = step;
    if (before !== null && step.after === null && step.op !== "prune")
      return sim.violate("7 never deleted early", `a ${step.op} deleted the record`);
    if (step.op !== "prune" || before === null || current === undefined) return;
    const say = (what: string): void => sim.violate("7 never deleted early", `${current.grantId} ${what}`);
    if (current.ended === undefined) {
      if (current.promisedMs > step.nowMs) say("was deleted while it was held");
      if (current.sealed) say("was deleted while it was sealed and not released");
    }
    if (before.retainMs === null) return say("was deleted though it is kept for ever");
    const due = dueMs(before, current);
    if (due !== undefined && step.nowMs + 2 < due)
      say(`was deleted ${(due - step.nowMs).toFixed(0)} ms before its time`);
  }

  return {
    step(step) {
      const { current } = ledger.of(step.id);
      refused(step);
      spent(step);
      released(step, current);
      rightful(step, current);
      deletion(step, current);
    },
  };
}
