/** What is to hold when processes that call `once` with one key are killed and stopped, on whatever store. */
import assert from "node:assert/strict";
import type { Coordinator } from "@coord/core";
import type pg from "pg";
import { type Answer, type Ask, type Caller, type Crowd, passAll } from "./once-crowd.ts";

export interface Scene {
  readonly crowd: Crowd;
  /** Of this process, as an operator's. */
  readonly coord: Coordinator;
  readonly effects: pg.Pool;
}

export const effectTable = "CREATE TABLE IF NOT EXISTS effect (key text NOT NULL, nonce text NOT NULL)";
const callers = 200;
/** What may be thrown: it was lost; the store did not answer in time; it is done, and the store did not say so yet. */
const truthful = ["COORD_LEASE_LOST", "COORD_UNAVAILABLE", "COORD_RESPONSE_NOT_STORED"];
/** Short where a claim is to lapse, and long where none may, however busy the machine is. */
const [shortMs, longMs] = [1500, 15_000];

/** Who was called, and what each process's callers will be told. */
type Called = readonly { readonly caller: Caller; readonly answers: Promise<readonly Answer[]> }[];

function callAll(from: readonly Caller[], key: string, ttlMs: number): Called {
  const what = { key, callers: Math.floor(callers / from.length), waitMs: 30_000, ttlMs };
  return from.map((caller) => ({ caller, answers: caller.call(what) }));
}

const answersOf = async (called: Called): Promise<readonly Answer[]> =>
  (await Promise.all(called.map(({ answers }) => answers))).flat();

export async function effectsOf({ effects }: Scene, key: string): Promise<string[]> {
  const { rows } = await effects.query<{ nonce: string }>("SELECT nonce FROM effect WHERE key = $1", [key]);
  return rows.map(({ nonce }) => nonce);
}

/** At most one effect, one answer, and nobody is told that it is done who would not find it done. */
export async function check(scene: Scene, key: string, answers: readonly Answer[]): Promise<void> {
  const nonces = await effectsOf(scene, key);
  assert.ok(nonces.length <= 1, `the effect of ${key} happened ${nonces.length} times: ${nonces.join(", ")}`);
  for (const answer of answers) {
    if (answer.status === "completed") assert.deepEqual(answer.receipt, { key, nonce: nonces[0] });
  }
}

const count = (answers: readonly Answer[], status: Answer["status"]): number =>
  answers.filter((answer) => answer.status === status).length;

/** Resolves when a function stands at that step, and lets all others pass. */
function arrival(crowd: Crowd, at: Ask["at"]): Promise<{ readonly caller: Caller; readonly ask: Ask }> {
  return new Promise((resolve) => {
    let came = false;
    crowd.onAsk = (caller, ask) => {
      if (came || ask.at !== at) return caller.pass(ask);
      came = true;
      resolve({ caller, ask });
    };
  });
}

/** Processes that wait are killed, and one is stopped for a while: the others notice nothing. */
export async function waitersKilled(scene: Scene, key: string): Promise<void> {
  const { crowd } = scene;
  const arrived = arrival(crowd, "after");
  const called = callAll(crowd.callers, key, longMs);
  const { caller: runner, ask } = await arrived;
  const [first, second, third] = crowd.callers.filter((caller) => caller !== runner);
  assert.ok(first !== undefined && second !== undefined && third !== undefined);
  third.stop();
  await Promise.all([first.kill(), second.kill()]);
  runner.pass(ask);
  third.go();
  const answers = await answersOf(called);
  assert.equal(count(answers, "completed"), answers.length);
  assert.equal(answers.length, callers - (2 * callers) / crowd.callers.length);
  assert.equal(answers.filter((each) => each.status === "completed" && !each.replayed).length, 1);
  await check(scene, key, answers);
}

/** The one that runs it is killed after the effect: uncertain, until one of two operators says what happened. */
export async function runnerKilled(scene: Scene, key: string): Promise<void> {
  const { crowd, coord } = scene;
  const arrived = arrival(crowd, "after");
  const called = callAll(crowd.callers, key, shortMs);
  const { caller: runner } = await arrived;
  await runner.kill();
  const answers = await answersOf(called);
  assert.equal(count(answers, "uncertain"), answers.length);
  assert.ok(answers.length > 0);
  await check(scene, key, answers);
  const [nonce] = await effectsOf(scene, key);
  const found = await coord.executions.get(key);
  assert.ok(found !== null && nonce !== undefined && found.status === "uncertain");
  const response = { key, nonce };
  const resolved = await Promise.allSettled(
    ["ann", "bob"].map((by) =>
      coord.executions.resolve(key, { fence: found.fence, by, note: "found it", as: "completed", response }),
    ),
  );
  assert.deepEqual(resolved.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);
  const replays = await answersOf(callAll(crowd.callers, key, longMs));
  assert.ok(replays.every((each) => each.status === "completed" && each.replayed));
  await check(scene, key, replays);
}

/** The one that runs it is stopped after the effect, past its deadline: uncertain meanwhile, and then its answer. */
export async function runnerStopped(scene: Scene, key: string): Promise<void> {
  const { crowd } = scene;
  const arrived = arrival(crowd, "after");
  const called = callAll(crowd.callers, key, shortMs);
  const { caller: runner, ask } = await arrived;
  runner.stop();
  runner.pass(ask);
  const others = await answersOf(called.filter(({ caller }) => caller !== runner));
  assert.equal(count(others, "uncertain"), others.length);
  runner.go();
  const own = await called.find(({ caller }) => caller === runner)?.answers;
  assert.ok(own !== undefined && count(own, "completed") >= 1);
  const replays = await answersOf(callAll(crowd.callers, key, longMs));
  assert.equal(count(replays, "completed"), replays.length);
  await check(scene, key, [...others, ...own, ...replays]);
}

/** Stopped before the effect, declared not done, run by another, and continued: it finds that it must not. */
export async function runnerReplaced(scene: Scene, key: string): Promise<void> {
  const { crowd, coord } = scene;
  const arrived = arrival(crowd, "before");
  const called = callAll(crowd.callers, key, shortMs);
  const { caller: runner, ask } = await arrived;
  runner.stop();
  runner.pass(ask);
  const others = called.filter(({ caller }) => caller !== runner);
  const told = await answersOf(others);
  assert.equal(count(told, "uncertain"), told.length);
  const found = await coord.executions.get(key);
  assert.ok(found !== null);
  await coord.executions.resolve(key, { fence: found.fence, by: "ann", as: "not-done" });
  const again = await answersOf(
    callAll(
      others.map(({ caller }) => caller),
      key,
      longMs,
    ),
  );
  assert.equal(count(again, "completed"), again.length);
  runner.go();
  const own = await called.find(({ caller }) => caller === runner)?.answers;
  assert.ok(own !== undefined);
  const wrong = own.filter((each) => each.status === "threw" && !truthful.includes(each.what));
  assert.deepEqual(wrong, []);
  assert.ok(count(own, "threw") >= 1, "the one that was stopped began its effect all the same");
  assert.equal((await effectsOf(scene, key)).length, 1);
  await check(scene, key, [...told, ...again, ...own]);
}

/** Each function's process may be killed or stopped at each step, and so may any other, at any time. */
export async function anyTrouble(
  scene: Scene,
  key: string,
  random: () => number,
): Promise<Answer["status"][]> {
  const { crowd } = scene;
  const stopped = new Set<Caller>();
  const trouble = (caller: Caller): void => {
    if (random() < 0.5) void caller.kill();
    else {
      stopped.add(caller);
      caller.stop();
      // Less or more than the ttl of 1.5 s.
      setTimeout(() => caller.go(), random() * 3000);
    }
  };
  crowd.onAsk = (caller, ask) => {
    if (random() < 0.4) trouble(caller);
    caller.pass(ask);
  };
  const called = callAll(crowd.callers, key, shortMs);
  const victims = crowd.callers.filter(() => random() < 0.3);
  for (const victim of victims) setTimeout(() => trouble(victim), random() * 2000);
  const answers = await answersOf(called);
  await new Promise((resolve) => setTimeout(resolve, 0));
  crowd.onAsk = passAll;
  for (const caller of stopped) caller.go();
  const threw = answers.flatMap((each) => (each.status === "threw" ? [each.what] : []));
  assert.deepEqual(
    threw.filter((what) => !truthful.includes(what)),
    [],
  );
  await check(scene, key, answers);
  return [...new Set(answers.map(({ status }) => status))];
}
