/** What may happen to candidates and their store in one round. Each ends with all candidates standing and a leader. */
import { setTimeout as sleep } from "node:timers/promises";
import {
  type Candidate,
  complete,
  leading,
  type Stage,
  strike,
  succeeded,
  tell,
} from "./election-processes.ts";
import { until } from "./harness.ts";

export interface Round {
  readonly kind: Kind;
  readonly beganAt: number;
}

export type Kind = keyof typeof rounds;

const others = (stage: Stage, leader: Candidate): Candidate[] =>
  stage.candidates.filter((candidate) => candidate !== leader);

const pick = (from: readonly Candidate[], random: () => number): Candidate | undefined =>
  from[Math.floor(random() * from.length)];

export const rounds = {
  /** The leader dies. */
  async kill(stage: Stage) {
    const leader = await leading(stage);
    strike(leader.candidate, "SIGKILL");
    await succeeded(stage, leader.fence);
  },
  /** The leader stands still when it is about to write, and writes when another one leads. */
  async stop(stage: Stage) {
    const leader = await leading(stage);
    const { candidate, fence } = leader;
    tell(candidate, "hold");
    await until("the leader is about to write", () => leader.poised || leader.settledAt !== undefined);
    strike(candidate, "SIGSTOP");
    tell(candidate, "go");
    await succeeded(stage, fence);
    strike(candidate, "SIGCONT");
    await until("the old leader knows that its term is over", () => leader.settledAt !== undefined);
  },
  /** The leader stands still wherever it is. */
  async freeze(stage: Stage) {
    const leader = await leading(stage);
    strike(leader.candidate, "SIGSTOP");
    await succeeded(stage, leader.fence);
    strike(leader.candidate, "SIGCONT");
    await until("the old leader knows that its term is over", () => leader.settledAt !== undefined);
  },
  /** The leader resigns. */
  async resign(stage: Stage) {
    const leader = await leading(stage);
    tell(leader.candidate, "resign");
    await succeeded(stage, leader.fence);
  },
  /** The store dies and comes back with what it had acknowledged. */
  async restart(stage: Stage) {
    await stage.faults.restart();
  },
  /** The store stands still for longer than a term lasts without renewal. */
  async pause(stage: Stage) {
    await stage.faults.pause();
    await sleep(stage.ttlMs * 1.3);
    await stage.faults.resume();
  },
  /** The store stands still for less than that. */
  async hiccup(stage: Stage) {
    await stage.faults.pause();
    await sleep(stage.ttlMs / 4);
    await stage.faults.resume();
  },
  /** Candidates that don't lead die and stand still. */
  async followers(stage: Stage, random: () => number) {
    const leader = await leading(stage);
    const victims = others(stage, leader.candidate);
    strike(pick(victims, random), "SIGKILL");
    const stopped = pick(victims, random);
    strike(stopped, "SIGSTOP");
    await sleep(stage.ttlMs / 2);
    strike(stopped, "SIGCONT");
  },
  /** Everything at once: the leader dies, another one stands still, and the store comes back meanwhile. */
  async storm(stage: Stage, random: () => number) {
    const leader = await leading(stage);
    strike(leader.candidate, "SIGKILL");
    const stopped = pick(others(stage, leader.candidate), random);
    strike(stopped, "SIGSTOP");
    await stage.faults.restart();
    await succeeded(stage, leader.fence);
    strike(stopped, "SIGCONT");
  },
} satisfies Record<string, (stage: Stage, random: () => number) => Promise<void>>;

export async function play(stage: Stage, kind: Kind, random: () => number): Promise<Round> {
  const beganAt = Date.now();
  await rounds[kind](stage, random);
  await complete(stage);
  return { kind, beganAt };
}
