import type { Election, Term } from "@coord/core";
import { grantKey } from "../ledger.ts";
import type { Kind, Script, Shape } from "../plan.ts";
import type { Random } from "../random.ts";
import type { Candidate, Handle } from "../sim.ts";
import { idOf } from "../store.ts";
import type { User } from "../user.ts";
import { enough, userScript } from "../user.ts";

export const electionId: string = idOf({ namespace: "default", key: "e\u001Fchief" });

/** How a candidate behaves in office. */
interface Manners {
  readonly ttlMs: number;
  readonly graceMs: number;
  /** How long its work goes on after its term has ended. */
  readonly settleMs: number;
  readonly work: "stays" | "returns" | "throws";
  readonly workMs: number;
  readonly everyMs: number;
  readonly shown: boolean;
  readonly resignEveryMs: number | undefined;
  readonly stopAt: number;
}

function drawManners(random: Random, { ttlMs, chaosMs }: Shape): Manners {
  const stubborn = random.chance(0.2);
  return {
    ttlMs,
    graceMs: Math.round(random.pick([0, 0.5 * ttlMs, 10_000, 10_000])),
    settleMs: stubborn ? random.range(0, 3) * ttlMs : random.next() ** 2 * 0.2 * ttlMs,
    work: random.pick(["stays", "stays", "stays", "returns", "throws"]),
    workMs: random.next() ** 2 * 2 * ttlMs,
    everyMs: random.range(ttlMs / 20, ttlMs / 3),
    shown: random.chance(0.3),
    resignEveryMs: random.chance(0.4) ? random.range(0.5, 3) * ttlMs : undefined,
    stopAt: random.chance(0.3) ? random.range(0.2, 1) * chaosMs : chaosMs + 9 * ttlMs + 8000,
  };
}

async function onElected(user: User, manners: Manners, candidate: Candidate, term: Term): Promise<void> {
  const { sim, process } = user;
  const { world } = sim;
  const { everyMs, workMs, work, settleMs } = manners;
  const handle: Handle = {
    holder: candidate.label,
    process,
    life: process.life,
    id: electionId,
    ttlMs: manners.ttlMs,
    askedAt: sim.ledger.grants.get(grantKey(term.grant))?.sentAt ?? world.now(),
    grant: term.grant,
    signal: term.signal,
    lasting: true,
    assertHeld() {
      if (term.signal.aborted) throw enough;
    },
  };
  world.note(() => `${candidate.label} is elected, fence ${term.fence}`);
  sim.tell("elected", (observer) => observer.elected?.(candidate, handle));
  candidate.working = handle;
  candidate.leads = handle;
  sim.held.add(handle);
  const until = process.machine.monotonicMs() + workMs;
  try {
    while (!term.signal.aborted) {
      sim.tell("asserted", (observer) => observer.asserted?.(handle));
      if (work !== "stays" && process.machine.monotonicMs() >= until) {
        if (work === "throws") throw new Error("cannot lead");
        break;
      }
      await process.sleep(everyMs);
    }
    if (term.signal.aborted) await process.sleep(settleMs);
  } catch (error) {
    sim.tell("refusedOffice", (observer) => observer.refusedOffice?.(candidate, handle));
    throw error;
  } finally {
    candidate.working = undefined;
    world.note(() => `the work of ${candidate.label} under fence ${term.fence} has settled`);
  }
}

/** Stands until it is stopped, again in each life of its process. */
async function stand(user: User, elect: (options: object) => Election, manners: Manners): Promise<void> {
  const { sim, process } = user;
  const { world } = sim;
  const candidate: Candidate = {
    label: user.newLabel(),
    process,
    life: process.life,
    ttlMs: manners.ttlMs,
    startedAt: world.now(),
    stopAskedAt: undefined,
    stoppedAt: undefined,
    working: undefined,
    leads: undefined,
  };
  sim.candidates.push(candidate);
  world.note(() => `${candidate.label} stands on ${process.name}`);
  const election = elect({
    ttlMs: manners.ttlMs,
    graceMs: manners.graceMs,
    holder: candidate.label,
    ...(manners.shown && { status: { version: "1" } }),
    onElected: (term: Term) => onElected(user, manners, candidate, term),
    onLost(term: Term) {
      world.note(() => `${candidate.label} leads no more, fence ${term.fence}`);
      sim.tell("unelected", (observer) => observer.unelected?.(candidate, term.signal.aborted));
      if (candidate.leads !== undefined) sim.held.delete(candidate.leads);
      candidate.leads = undefined;
    },
  });
  election.start();
  await rule(user, election, candidate, manners);
}

async function rule(user: User, election: Election, candidate: Candidate, manners: Manners): Promise<void> {
  const { sim, process } = user;
  const { world } = sim;
  while (world.now() < manners.stopAt) {
    await process.sleep(Math.min(manners.resignEveryMs ?? Infinity, manners.stopAt - world.now()));
    if (world.now() >= manners.stopAt) break;
    world.note(() => `${candidate.label} resigns`);
    await election.resign();
  }
  world.note(() => `${candidate.label} stops`);
  candidate.stopAskedAt = world.now();
  await election.stop();
  candidate.stoppedAt = world.now();
  sim.tell("stopped", (observer) => observer.stopped?.(candidate));
  world.note(() => `${candidate.label} has stopped`);
  if (candidate.leads !== undefined) sim.held.delete(candidate.leads);
}

/** Stands for election, as do others elsewhere, and comes back when its process was killed. */
export const candidate: Kind = {
  name: "candidate",
  draw(random, shape): Script {
    const manners = drawManners(random, shape);
    const index = random.int(0, shape.processes - 1);
    const atMs = random.range(0, shape.chaosMs / 2);
    const { work, resignEveryMs, stopAt } = manners;
    const resigns = resignEveryMs === undefined ? "" : `, resigns every ${Math.round(resignEveryMs)} ms`;
    const describe = `${work}${resigns}, until ${Math.round(stopAt)}`;
    const script = userScript("candidate", atMs, index, describe, (user, coordinator) =>
      stand(user, (options) => coordinator.elect("chief", options), manners),
    );
    return {
      ...script,
      start(sim) {
        script.start(sim);
        sim.processes[index]?.onStart(() => {
          if (sim.world.now() < manners.stopAt) script.start(sim);
        });
      },
    };
  },
};
