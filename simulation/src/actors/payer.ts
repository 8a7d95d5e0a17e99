import type { Execution, OnceOptions, ProbeAnswer } from "@coord/core";
import type { OnceCall, Run } from "../book.ts";
import { truthOf } from "../book.ts";
import type { Kind, Script, Shape } from "../plan.ts";
import type { Random } from "../random.ts";
import type { Handle } from "../sim.ts";
import { idOf } from "../store.ts";
import type { User } from "../user.ts";
import { enough, userScript } from "../user.ts";

const endings = [
  "returns",
  "returns",
  "returns",
  "throws before",
  "throws after",
  "retryable",
  "not done",
  "final",
] as const;

export const onceHour = 3_600_000;
export const paymentKeys = ["pay", "pay", "pay", "pay", "bill"] as const;
export const paymentId = (key: string): string => idOf({ namespace: "default", key: `x\u001F${key}` });

/** How a caller of `once` and its function go about it. */
interface Habits {
  readonly key: string;
  readonly ttlMs: number;
  readonly input: string;
  readonly waitMs: number;
  readonly maxHoldMs: number;
  readonly beforeMs: number;
  readonly afterMs: number;
  readonly everyMs: number;
  readonly looks: boolean;
  readonly saves: boolean;
  readonly ending: (typeof endings)[number];
  readonly inTransaction: boolean;
  readonly commits: boolean;
  /** A transaction that failed is tried again, as people do who take the error for a deadlock. */
  readonly retries: boolean;
  readonly probeMs: number | undefined;
  readonly probeFails: boolean;
  readonly reruns: boolean;
  readonly abortMs: number | undefined;
}

function drawHabits(random: Random, { ttlMs, latencyMs }: Shape, key: string): Habits {
  const some = (most: number): number => random.next() ** 2 * most;
  return {
    key,
    ttlMs,
    input: random.chance(0.05) ? "another" : "usual",
    waitMs: Math.round(random.pick([0, 0, 2 * ttlMs, 8 * ttlMs])),
    maxHoldMs: Math.round(random.pick([10, 10, 2, 1]) * ttlMs),
    beforeMs: some(2 * ttlMs),
    afterMs: some(2 * ttlMs),
    everyMs: random.range(ttlMs / 20, ttlMs / 2),
    looks: random.chance(0.6),
    saves: random.chance(0.3),
    ending: random.pick(endings),
    inTransaction: random.chance(0.3),
    commits: random.chance(0.8),
    retries: random.chance(0.5),
    probeMs: random.chance(0.4) ? some(ttlMs) : undefined,
    probeFails: random.chance(0.1),
    reruns: random.chance(0.15),
    abortMs: random.chance(0.2) ? some(random.pick([2 * ttlMs, 3 * latencyMs])) : undefined,
  };
}

class Stopped extends Error {}

/** Downstream does it, once per idempotency key: what it answered first, it answers ever after. */
function takeEffect({ sim }: User, run: Run): string {
  run.effectAt = sim.world.now();
  run.effects += 1;
  run.key.response ??= `paid by ${run.call.label}`;
  sim.book.responses.add(run.key.response);
  sim.world.note(() => `${run.call.label} pays under fence ${run.handle.grant.fence}`);
  sim.tell("effect", (observer) => observer.effect?.(run));
  return run.key.response;
}

/** The function as it goes on under its claim. */
async function pay(user: User, habits: Habits, run: Run, execution: Execution): Promise<string> {
  const { process, sim } = user;
  const { beforeMs, afterMs, everyMs, looks, ending } = habits;
  if (looks) {
    if (!(await user.hold(run.handle, beforeMs, everyMs))) throw new Stopped("stopped in time");
  } else await process.sleep(beforeMs);
  if (habits.saves) await execution.save(`half ${run.call.label}`);
  if (ending === "throws before" || ending === "retryable" || ending === "final") throw new Error(ending);
  // Who runs again what was uncertain asks downstream first, which knows the idempotency key.
  if (ending === "not done" && run.key.response === undefined) throw sim.core.notDone(new Error(ending));
  if (looks && !user.check(run.handle)) throw new Stopped("stopped in time");
  let response: string;
  if (habits.inTransaction) {
    const transact = (): Promise<string> => payInTransaction(user, habits, run, execution);
    response = await transact().catch((error: unknown) => {
      if (!habits.retries) throw error;
      return transact();
    });
  } else response = takeEffect(user, run);
  await process.sleep(afterMs);
  if (ending === "throws after") throw new Error(ending);
  return response;
}

/** The answer commits with the caller's own writes, which are the effect. */
async function payInTransaction(
  user: User,
  { everyMs, commits }: Habits,
  run: Run,
  execution: Execution,
): Promise<string> {
  const index = user.sim.processes.indexOf(user.process);
  const session = user.sim.links[index]?.begin();
  if (session === undefined) throw new Error("no link");
  const response = run.key.response ?? `paid by ${run.call.label}`;
  try {
    await execution.complete(response, { within: session });
    await user.process.sleep(everyMs);
  } catch (error) {
    session.rollback();
    throw error;
  }
  if (!commits) session.rollback();
  else if (!(await session.commit(() => void takeEffect(user, run)))) throw new Error("rolled back");
  return response;
}

function optionsOf(user: User, habits: Habits, call: OnceCall): OnceOptions<string, string> {
  const { probeMs, probeFails, ending } = habits;
  const { sim, process } = user;
  const controller = new AbortController();
  if (habits.abortMs !== undefined) {
    void process.sleep(habits.abortMs).then(() => {
      if (call.settledAt === undefined && call.runs === 0) controller.abort(enough);
    });
  }
  /** Answers what is so; an honest "not done" needs that every run is over. */
  const probe = async (execution: { readonly fence: bigint }): Promise<ProbeAnswer<string>> => {
    sim.tell("probed", (observer) => observer.probed?.(call, execution.fence));
    await process.sleep(probeMs ?? 0);
    if (probeFails) throw new Error("the probe fails");
    const key = sim.book.of(call.id);
    const status = truthOf(key);
    sim.world.note(() => `the probe of ${call.label} says ${status}`);
    if (status === "unknown") return { status };
    sim.book.asked.set(call.label, { state: status, fence: execution.fence });
    return status === "completed" ? { status, response: key.response ?? "" } : { status };
  };
  return {
    input: call.input,
    ttlMs: habits.ttlMs,
    maxHoldMs: habits.maxHoldMs,
    waitMs: habits.waitMs,
    retainMs: onceHour,
    signal: controller.signal,
    holder: call.label,
    onError: () => {
      if (ending === "retryable" && sim.book.of(call.id).response !== undefined) return "uncertain";
      return ending === "retryable" || ending === "final" ? ending : "uncertain";
    },
    onUncertain: habits.reruns ? "rerun" : "report",
    ...(probeMs !== undefined && { probe }),
  };
}

async function once(
  user: User,
  coordinator: Parameters<Parameters<typeof userScript>[4]>[1],
  habits: Habits,
): Promise<void> {
  const { sim, process } = user;
  const { world, book } = sim;
  const call: OnceCall = {
    label: user.newLabel(),
    process,
    life: process.life,
    id: paymentId(habits.key),
    askedAt: world.now(),
    input: habits.input,
    reruns: habits.reruns,
    settledAt: undefined,
    runs: 0,
  };
  book.calls.push(call);
  world.note(() => `${call.label} on ${process.name} calls once for ${habits.key}`);
  const work = async (_input: string, execution: Execution): Promise<string> => {
    const handle: Handle = {
      holder: call.label,
      process,
      life: call.life,
      id: call.id,
      ttlMs: habits.ttlMs,
      askedAt: call.askedAt,
      grant: execution.grant,
      signal: execution.signal,
      assertHeld: () => execution.assertHeld(),
    };
    const run: Run = {
      call,
      handle,
      key: book.of(call.id),
      maxHoldMs: habits.maxHoldMs,
      beganAt: world.now(),
      effectAt: undefined,
      effects: 0,
      endedAt: undefined,
      ended: undefined,
      error: undefined,
      inTransaction: habits.inTransaction,
    };
    call.runs += 1;
    world.note(() => `${call.label} runs under fence ${execution.fence}, attempt ${execution.attempt}`);
    sim.tell("began", (observer) => observer.began?.(run, execution));
    book.begin(run);
    sim.held.add(handle);
    try {
      const response = await pay(user, habits, run, execution);
      run.ended = "returned";
      return response;
    } catch (error) {
      run.ended = "threw";
      run.error = error;
      throw error;
    } finally {
      run.endedAt = world.now();
      sim.held.delete(handle);
      world.note(() => `the function of ${call.label} ${run.ended}`);
    }
  };
  let outcome;
  try {
    outcome = { result: await coordinator.once(habits.key, optionsOf(user, habits, call), work) };
  } catch (error) {
    outcome = { error };
  }
  call.settledAt = world.now();
  world.note(() => `${call.label} is answered: ${toldOutcome(outcome)}`);
  sim.tell("answered", (observer) => observer.answered?.(call, outcome));
}

const toldOutcome = (outcome: { result: { status: string } } | { error: unknown }): string =>
  "result" in outcome ? outcome.result.status : String(outcome.error);

/** Where and when somebody does something about a key. */
export interface Spot {
  readonly atMs: number;
  readonly index: number;
  readonly key: string;
  /** How long the first function works before it pays. */
  readonly worksMs?: number;
}

const told = (habits: Habits): string => {
  const how = habits.inTransaction ? " in a transaction" : "";
  return `${habits.ending}${how}${habits.reruns ? ", reruns" : ""}${habits.probeMs === undefined ? "" : ", probes"}`;
};

/** Calls `once` for a payment, as many others do, again and again. */
export function payerAt(random: Random, shape: Shape, { atMs, index, key, worksMs }: Spot): Script {
  const all = Array.from({ length: random.int(1, 3) }, (_, i) => {
    const habits = drawHabits(random, shape, key);
    return i === 0 && worksMs !== undefined ? { ...habits, beforeMs: worksMs, afterMs: worksMs } : habits;
  });
  const restMs = random.next() ** 2 * 2 * shape.ttlMs;
  const describe = `${key}: ${all.map(told).join("; ")}`;
  return userScript("payer", atMs, index, describe, async (user, coordinator) => {
    for (const habits of all) {
      await once(user, coordinator, habits);
      await user.process.sleep(restMs);
    }
  });
}

export const payer: Kind = {
  name: "payer",
  draw: (random, shape) =>
    payerAt(random, shape, {
      atMs: random.range(0, shape.chaosMs),
      index: random.int(0, shape.processes - 1),
      key: random.pick(paymentKeys),
    }),
};
