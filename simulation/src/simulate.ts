import { createHash } from "node:crypto";
import { soundCore } from "./core.ts";
import type { Core } from "./core.ts";
import { invariants } from "./invariants/index.ts";
import { createBook } from "./book.ts";
import { createLedger } from "./ledger.ts";
import { createMachine } from "./machine.ts";
import { createLink } from "./network.ts";
import type { Link } from "./network.ts";
import { drawPlan } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { createProcess } from "./process.ts";
import type { SimProcess } from "./process.ts";
import { createRandom } from "./random.ts";
import type { Observer, Sim } from "./sim.ts";
import { createStore } from "./store.ts";
import { resetUsers } from "./user.ts";
import { createWorld, settle } from "./world.ts";

export interface Violation {
  readonly rule: string;
  readonly what: string;
  /** In true time. */
  readonly atMs: number;
}

export interface Outcome {
  readonly plan: Plan;
  readonly violation: Violation | undefined;
  /** Of all that happened; `undefined` unless a trace was asked for. */
  readonly trace: readonly string[] | undefined;
  readonly hash: string | undefined;
  readonly grants: number;
  /** Messages to which something happened. */
  readonly hits: readonly string[];
}

export interface RunOptions {
  /** @default the core that is in the tree */
  readonly core?: Core;
  /** @default false */
  readonly trace?: boolean;
}

/** Draws the plan of a seed and runs it. Only to be called `outsideJobs`. */
export const simulate = (seed: number, options: RunOptions = {}): Outcome => run(drawPlan(seed), options);

/** Runs a plan on virtual time to its end or to the first violation. Only to be called `outsideJobs`. */
export function run(plan: Plan, options: RunOptions = {}): Outcome {
  const { stackTraceLimit } = Error;
  // Most errors of a run are answers; their stack traces would take a tenth of its time.
  if (!options.trace) Error.stackTraceLimit = 0;
  try {
    return runToEnd(plan, options);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function runToEnd(plan: Plan, { core = soundCore, trace: traced = false }: RunOptions): Outcome {
  const { shape } = plan;
  const trace: string[] | undefined = traced ? [] : undefined;
  const world = createWorld(trace, (what) => sim.violate("15 nothing spins", what));
  const store = createStore(world, core, shape.rates[0] ?? 1);
  const ledger = createLedger();
  const processes: SimProcess[] = [];
  const links: Link[] = [];
  const observers: Observer[] = [];
  const hits = new Set<string>();
  let violation: Violation | undefined;
  resetUsers();

  const sim: Sim = {
    core,
    shape,
    world,
    store,
    processes,
    links,
    ledger,
    acquisitions: [],
    held: new Set(),
    candidates: [],
    busy: new Set(),
    book: createBook(),
    tell(_event, call) {
      for (const observer of observers) call(observer);
    },
    violate(rule, what) {
      violation ??= { rule, what, atMs: world.now() };
      world.note(() => `VIOLATION of ${rule}: ${what}`);
    },
  };
  for (const create of invariants) observers.push(create(sim));
  store.onStep((step) => {
    world.note(() => `  store: ${describeStep(step)}`);
    for (const observer of observers) observer.step?.(step);
    ledger.enter(step, world.now());
  });

  for (let i = 0; i < shape.processes; i += 1) {
    const name = `p${i + 1}`;
    const wallMs = store.nowMs() + (shape.wallOffsetsMs[i] ?? 0);
    const process = createProcess(world, {
      name,
      machine: createMachine(world, shape.rates[i + 1] ?? 1, wallMs),
      random: createRandom(shape.seed, "process", i),
      timersLateMs: () =>
        world.now() < shape.chaosMs ? shape.timersLateMs : Math.min(5, shape.timersLateMs),
      createCoordinator: (host) =>
        core.createCoordinator({
          backend: link.backend,
          holder: name,
          defaults: { ttlMs: shape.ttlMs, retainMs: 60_000 },
          host,
        }),
    });
    const link = createLink(world, store, process, i, {
      seed: shape.seed,
      core,
      ttlMs: shape.ttlMs,
      latencyMs: shape.latencyMs,
      pollMs: shape.pollMs,
      push: shape.push,
      faults: shape.network,
      calmAt: shape.chaosMs,
      spared: shape.spared ?? [],
      onHit: (message) => void hits.add(message),
    });
    process.onKill(() => {
      for (const one of sim.held) if (one.process === process) sim.held.delete(one);
    });
    processes.push(process);
    links.push(link);
    process.start();
    process.troubledAt = -Infinity;
  }
  for (const script of plan.scripts) world.at(script.atMs, () => script.start(sim));

  const stop = (): boolean => violation !== undefined;
  // The faults end, what is delayed arrives, waits run out: longer than any of it takes.
  world.run(shape.chaosMs + 40 * shape.ttlMs + 30_000, () => stop() || idle(sim));
  // What was ended last is on its way.
  world.run(world.now() + shape.ttlMs + 1000, stop);
  for (const observer of observers) if (!stop()) observer.settled?.();
  if (!stop()) {
    const closed: Promise<unknown>[] = [];
    for (const process of processes) {
      process.deliver(() => {
        if (process.coordinator !== undefined) closed.push(process.coordinator.close({ graceMs: 0 }));
      });
    }
    let ended = false;
    settle();
    void Promise.all(closed).then(() => {
      ended = true;
    });
    world.run(world.now() + 6 * shape.ttlMs + 60_000, () => stop() || ended);
    if (!ended) sim.violate("18 rest", "close() does not end");
    // The longest limit of a call that was under way.
    world.run(world.now() + 31_000, stop);
  }
  for (const observer of observers) if (!stop()) observer.rest?.();
  const grants = ledger.grants.size;
  const hash = trace && createHash("sha256").update(trace.join("\n")).digest("hex").slice(0, 16);
  return { plan, violation, trace, hash, grants, hits: [...hits] };
}

/** Whether the faults are over, nobody waits or holds, and what was under way had time to arrive. */
function idle(sim: Sim): boolean {
  const { world, shape } = sim;
  if (world.now() < shape.chaosMs + 6 * shape.ttlMs + 1000) return false;
  for (const { lasting } of sim.held) if (lasting !== true) return false;
  return [...sim.busy].every(({ process, life }) => process.life !== life);
}

function describeStep(step: Parameters<NonNullable<Observer["step"]>>[0]): string {
  const key = step.id.slice(step.id.indexOf("\u001F") + 1);
  const result = step.op === "prune" ? "deleted" : step.op === "renew" ? step.result : step.result.outcome;
  const { after } = step;
  const left = after === null ? 0 : Math.max(0, after.expiresAt - step.nowMs);
  const now =
    after === null
      ? "no record"
      : `${after.grantId} fence ${after.fence} ${after.expiresAt === 0 ? "released" : `${left.toFixed(0)} ms left`}${after.sealed ? " sealed" : ""}`;
  const reason = step.op === "acquire" && step.result.outcome === "refused" ? ` (${step.result.reason})` : "";
  const asked = step.op === "prune" ? "" : ` for ${step.request.grantId}`;
  return `${step.op} ${key}${asked} from ${step.sender}: ${result}${reason}; ${now}`;
}
