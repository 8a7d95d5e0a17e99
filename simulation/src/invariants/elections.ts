import { electionId } from "../actors/candidate.ts";
import { isNewGrant } from "../ledger.ts";
import type { Candidate, Observer, Sim } from "../sim.ts";
import { callLimitMs } from "./endings.ts";

const backoffMs = 1500;
const pushedPollMs = 5000;

/** 15 and 16 for elections: one leader, whose work is over before another begins, and somebody leads. */
export function elections(sim: Sim): Observer {
  const { world, store, ledger, shape } = sim;
  const limitMs = callLimitMs(shape.ttlMs);
  const slackMs = 150 + 8 * shape.latencyMs + 4 * Math.min(20, shape.timersLateMs);
  const pollMs = shape.push ? pushedPollMs : shape.pollMs;
  const vacantMs = 2 * shape.ttlMs + 1.5 * pollMs + 3 * shape.pollMs + limitMs + backoffMs + slackMs;
  let vacantSince: number | undefined;
  let probes = false;

  const by = (holder: string): Candidate | undefined => sim.candidates.find(({ label }) => label === holder);

  function isHealthy(candidate: Candidate, since: number): boolean {
    const { process, life, startedAt, stopAskedAt, working } = candidate;
    const troubledAt = Math.max(process.troubledAt, process.suspendedUntil, process.deceivedAt);
    return (
      process.life === life &&
      !process.blocked &&
      !process.closing &&
      working === undefined &&
      stopAskedAt === undefined &&
      Math.max(startedAt, troubledAt + backoffMs) < since
    );
  }

  function probe(): void {
    const record = store.peek(electionId);
    const isHeld = record !== undefined && record.expiresAt > store.nowMs();
    vacantSince = isHeld ? undefined : (vacantSince ?? world.now());
    const since = Math.max(vacantSince ?? Infinity, store.troubledAt + backoffMs);
    if (world.now() - since > vacantMs && shape.timersLateMs <= 20) {
      const ready = sim.candidates.find((one) => isHealthy(one, world.now() - vacantMs));
      const agoMs = (world.now() - since).toFixed(0);
      if (ready !== undefined)
        sim.violate("16 somebody leads", `nobody leads for ${agoMs} ms, though ${ready.label} stands`);
    }
    if (world.now() < shape.chaosMs + 9 * shape.ttlMs + 8000)
      world.after(Math.max(50, shape.ttlMs / 4), probe);
  }

  return {
    elected(candidate, handle) {
      const { label, working } = candidate;
      if (working !== undefined)
        sim.violate(
          "16 one at a time",
          `${label} is elected while its work under ${working.grant.fence} goes on`,
        );
      if (handle.signal.aborted)
        sim.violate("11 never started late", `${label} is elected for a term that is over`);
      if (!probes) probe();
      probes = true;
    },
    refusedOffice(candidate, handle) {
      const { process, life, label } = candidate;
      world.after(slackMs, () => {
        if (process.life !== life || process.blocked || process.troubledAt > world.now() - 2 * slackMs)
          return;
        if (!handle.signal.aborted)
          sim.violate("16 who fails resigns", `the work of ${label} threw, and its term goes on`);
      });
    },
    unelected(candidate, over) {
      if (!over)
        sim.violate("16 one at a time", `${candidate.label} is told of the end of a term that goes on`);
      if (candidate.working !== undefined)
        sim.violate("16 one at a time", `${candidate.label} is told of the end while its work goes on`);
    },
    step(step) {
      if (step.id !== electionId) return;
      if (step.op === "acquire" && isNewGrant(step)) {
        vacantSince = undefined;
        const candidate = by(step.request.holder);
        const working = candidate?.working;
        if (working !== undefined && working.life === working.process.life && step.sentAt > working.askedAt)
          sim.violate("16 one at a time", `${candidate?.label} stands while its work goes on`);
      }
      if (step.op !== "release" || step.result.outcome !== "released") return;
      for (const { label, working, process } of sim.candidates) {
        if (working === undefined || working.life !== process.life || process.closing) continue;
        if (working.grant.grantId === step.request.grantId && working.grant.fence === step.before?.fence)
          sim.violate("16 one at a time", `${label} released its leadership while its work goes on`);
      }
    },
    stopped(candidate) {
      const { leads, label, ttlMs, process, life, stoppedAt = 0 } = candidate;
      if (leads !== undefined && !leads.signal.aborted)
        sim.violate("14 endings", `${label} has stopped, and its term goes on`);
      world.after(ttlMs * 1.002 + slackMs, () => {
        if (process.life !== life) return;
        for (const { current } of ledger.names.values()) {
          if (current?.holder !== label || current.ended !== undefined) continue;
          const record = store.peek(current.id);
          if (record?.grantId !== current.grantId || record.expiresAt <= store.nowMs()) continue;
          if (current.extendedBySentAt > stoppedAt + slackMs)
            sim.violate("14 endings", `${label} has stopped long ago, but ${current.grantId} is renewed`);
        }
      });
    },
    settled() {
      for (const { label, stopAskedAt, stoppedAt, process, life } of sim.candidates)
        if (stopAskedAt !== undefined && stoppedAt === undefined && process.life === life)
          sim.violate("15 nothing hangs", `${label} was told to stop and does not`);
    },
  };
}
