import { themes } from "./actors/index.ts";
import { prober } from "./actors/prober.ts";
import { faults } from "./faults.ts";
import type { NetworkFaults } from "./network.ts";
import { createRandom } from "./random.ts";
import type { Random } from "./random.ts";
import type { Sim } from "./sim.ts";

/** What a run is like; everything but its scripts. */
export interface Shape {
  readonly seed: number;
  readonly ttlMs: number;
  readonly keys: readonly [string, ...string[]];
  readonly processes: number;
  /** Faults and new wishes come before that, in true time. */
  readonly chaosMs: number;
  readonly latencyMs: number;
  readonly pollMs: number;
  readonly push: boolean;
  readonly network: NetworkFaults;
  /** How late timers may be, in milliseconds. */
  readonly timersLateMs: number;
  /** How fast clocks run; the store's, then the processes'. */
  readonly rates: readonly number[];
  /** How far the wall clocks of the processes are ahead of the store's, in milliseconds. */
  readonly wallOffsetsMs: readonly number[];
  /** Wall clocks may be set back. */
  readonly wallGoesBack: boolean;
  /** Messages that nothing happens to; by process and number. @default none */
  readonly spared?: readonly string[];
}

/** Something that happens in a run: a fault, or what a user does. A run can go without any of them. */
export interface Script {
  readonly atMs: number;
  readonly describe: string;
  start(sim: Sim): void;
}

/** A kind of fault or of user; draws one of its kind. */
export interface Kind {
  readonly name: string;
  draw(random: Random, shape: Shape): Script;
}

export interface Plan {
  readonly shape: Shape;
  readonly scripts: readonly Script[];
}

const noFaults: NetworkFaults = {
  loseRequest: 0,
  loseReply: 0,
  duplicate: 0,
  delay: 0,
  break: 0,
  refuse: 0,
  partial: 0,
  loseWake: 0,
  doubleWake: 0,
  spuriousWake: 0,
};

function drawNetwork(random: Random): NetworkFaults {
  const spoilt = { ...noFaults };
  if (random.chance(0.3)) return spoilt;
  const some = (): number => (random.chance(0.35) ? random.pick([0.02, 0.1, 0.3]) : 0);
  for (const fault of Object.keys(spoilt)) {
    const rate = some();
    if (isFault(fault)) spoilt[fault] = rate;
  }
  return spoilt;
}

const isFault = (name: string): name is keyof NetworkFaults => name in noFaults;

function drawShape(seed: number): Shape {
  const random = createRandom(seed, "shape");
  const ttlMs = random.pick([250, 400, 1000, 1000, 3000, 30_000]);
  const processes = random.int(1, 3);
  const rate = (): number => (random.chance(0.5) ? 1 : 1 + random.pick([-1, 1]) * random.range(0, 500e-6));
  return {
    seed,
    ttlMs,
    keys: random.chance(0.75) ? ["a"] : ["a", "b"],
    processes,
    chaosMs: ttlMs * random.int(3, 9),
    latencyMs: random.pick([1, 5, 20]),
    // Long runs need not be full of questions.
    pollMs: Math.max(ttlMs / 60, random.pick([50, 100, 100, 400])),
    push: random.chance(0.5),
    network: drawNetwork(random),
    timersLateMs: random.chance(0.1) ? random.range(20, 400) : random.range(0, 12),
    rates: Array.from({ length: processes + 1 }, rate),
    wallOffsetsMs: Array.from({ length: processes }, () =>
      random.chance(0.7) ? random.range(-50, 50) : random.range(-7_200_000, 7_200_000),
    ),
    wallGoesBack: random.chance(0.5),
  };
}

/** All that the seed says of a run. The same seed gives the same plan. */
export function drawPlan(seed: number): Plan {
  const shape = drawShape(seed);
  const random = createRandom(seed, "mix");
  const scripts: Script[] = [];
  const actors = random.pick(themes);
  const users = random.int(2, 8);
  for (let i = 0; i < users; i += 1) {
    const own = createRandom(seed, "user", i);
    const usual = actors[0];
    scripts.push((own.chance(0.4) ? usual : own.pick(actors)).draw(own, shape));
  }
  const probes = random.chance(0.5) ? random.int(1, 8) : 0;
  for (let i = 0; i < probes; i += 1) scripts.push(prober.draw(createRandom(seed, "probe", i), shape));
  // Half of the kinds of faults at the most, so that each also meets a world without the others.
  const kinds = faults.filter(() => random.chance(0.25));
  for (const kind of kinds) {
    const times = random.pick([1, 1, 2, 4]);
    for (let i = 0; i < times; i += 1)
      scripts.push(kind.draw(createRandom(seed, `fault ${kind.name}`, i), shape));
  }
  return { shape, scripts: scripts.toSorted((a, b) => a.atMs - b.atMs) };
}
