import type { Kind, Script, Shape } from "./plan.ts";
import { dueMs } from "./ledger.ts";
import type { Random } from "./random.ts";
import type { Sim } from "./sim.ts";
import { idOf } from "./store.ts";

/** Faults that happen at an instant; those of single messages are drawn in `network.ts`. */
const fault = (
  name: string,
  draw: (random: Random, shape: Shape) => { describe: string; start: (sim: Sim) => void },
): Kind => ({
  name,
  draw(random, shape): Script {
    const atMs = random.range(0, shape.chaosMs);
    const { describe, start } = draw(random, shape);
    return {
      atMs,
      describe: `fault: ${describe}`,
      start(sim) {
        sim.world.note(() => `fault: ${describe}`);
        start(sim);
      },
    };
  },
});

/** A fault of one process, unless it is dead or stands still already. */
const ofProcess = (
  name: string,
  draw: (
    random: Random,
    shape: Shape,
  ) => { describe: string; start: (sim: Sim, process: Sim["processes"][number], index: number) => void },
): Kind =>
  fault(name, (random, shape) => {
    const index = random.int(0, shape.processes - 1);
    const { describe, start } = draw(random, shape);
    return {
      describe: `p${index + 1} ${describe}`,
      start(sim) {
        const process = sim.processes[index];
        if (process?.coordinator === undefined || process.blocked) return;
        start(sim, process, index);
      },
    };
  });

const ms = (value: number): string => `${Math.round(value)} ms`;
const upTo = (random: Random, most: number): number => random.next() ** 2 * most;

const pauses = ofProcess("pause", (random, { ttlMs }) => {
  const forMs = upTo(random, 5 * ttlMs);
  return { describe: `paused for ${ms(forMs)}`, start: (_sim, process) => process.block(forMs) };
});

const kills = ofProcess("kill", (random, { ttlMs }) => {
  const backMs = upTo(random, 3 * ttlMs);
  return {
    describe: `killed, back after ${ms(backMs)}`,
    start({ world }, process) {
      process.kill();
      world.after(backMs, () => process.start());
    },
  };
});

/** A suspension and a wall clock set back hide each other until somebody has looked at the clocks in between. */
const noticedMs = 1600;

function suspend({ world }: Sim, process: Sim["processes"][number], forMs: number): void {
  if (process.coordinator === undefined || process.blocked) return;
  if (world.now() - Math.max(process.wallSetBackAt, process.blockedUntil) < noticedMs) return;
  process.machine.setMode("suspended");
  process.block(forMs);
  process.suspendedUntil = world.now() + forMs;
  process.clockJumpedAt = world.now() + forMs;
  world.after(forMs, () => process.machine.setMode("running"));
}

const suspends = ofProcess("suspend", (random, { ttlMs, wallGoesBack }) => {
  const forMs = upTo(random, 5 * ttlMs);
  const backMs = wallGoesBack ? random.range(0, 6 * ttlMs) : 0;
  const laterMs = noticedMs + 1 + upTo(random, ttlMs);
  return {
    describe: `suspended for ${ms(forMs)}${wallGoesBack ? `, ${ms(laterMs)} after its wall clock was set back by ${ms(backMs)}` : ""}`,
    start(sim, process) {
      if (!wallGoesBack) return suspend(sim, process, forMs);
      if (sim.world.now() - process.suspendedUntil < noticedMs) return;
      process.wallSetBackAt = sim.world.now();
      process.machine.stepWall(-backMs);
      sim.world.after(laterMs, () => suspend(sim, process, forMs));
    },
  };
});

const freezes = ofProcess("freeze", (random, { ttlMs }) => {
  const forMs = upTo(random, 5 * ttlMs);
  return {
    describe: `frozen for ${ms(forMs)}`,
    start({ world }, process) {
      process.machine.setMode("frozen");
      process.block(forMs);
      process.deceivedAt = world.now() + forMs;
      world.after(forMs, () => process.machine.setMode("running"));
    },
  };
});

const wallSteps = ofProcess("wall step", (random, { ttlMs, wallGoesBack }) => {
  const size = random.chance(0.5) ? upTo(random, 3 * ttlMs) : random.range(0, 3_600_000);
  const byMs = wallGoesBack && random.chance(0.6) ? -size : size;
  return {
    describe: `wall clock set by ${ms(byMs)}`,
    start({ world }, process) {
      if (byMs < 0 && world.now() - process.suspendedUntil < noticedMs) return;
      if (byMs < 0) process.wallSetBackAt = world.now();
      process.troubledAt = Math.max(process.troubledAt, world.now());
      process.clockJumpedAt = world.now();
      process.machine.stepWall(byMs);
    },
  };
});

const cuts = ofProcess("cut", (random, { ttlMs }) => {
  const forMs = upTo(random, 3 * ttlMs);
  return {
    describe: `cut off for ${ms(forMs)}`,
    start({ world, links }, process, index) {
      const link = links[index];
      if (link === undefined) return;
      link.cutUntil = Math.max(link.cutUntil, world.now() + forMs);
      process.troubledAt = Math.max(process.troubledAt, link.cutUntil);
      link.wakeAll();
      world.at(link.cutUntil, () => link.wakeAll());
    },
  };
});

const storeSteps = fault("store step", (random) => {
  const size = random.pick([random.range(0, 60), random.range(0, 300_000), 3_600_000, 400 * 86_400_000]);
  const byMs = random.chance(0.5) ? size : -size;
  const backMs = random.chance(0.5) ? random.range(0, 5000) : undefined;
  return {
    describe: `store clock set by ${ms(byMs)}${backMs === undefined ? "" : `, back after ${ms(backMs)}`}`,
    start({ world, store }) {
      const step = (by: number): void => {
        store.stepClock(by);
        store.troubledAt = Math.max(store.troubledAt, world.now());
        if (by > 0) store.setForwardAt = world.now();
      };
      step(byMs);
      if (backMs !== undefined) world.after(backMs, () => step(-byMs));
    },
  };
});

const restarts = fault("store restart", (random, { ttlMs }) => {
  const forMs = upTo(random, 2 * ttlMs);
  return {
    describe: `store restarts in ${ms(forMs)}`,
    start({ world, store, links, processes }) {
      const until = world.now() + forMs;
      store.downUntil = Math.max(store.downUntil, until);
      store.troubledAt = Math.max(store.troubledAt, until);
      for (const process of processes) process.troubledAt = Math.max(process.troubledAt, until);
      const wake = (): void => {
        for (const link of links) link.wakeAll();
      };
      wake();
      world.at(until, wake);
    },
  };
});

const locks = fault("lock", (random, { ttlMs, keys }) => {
  const key = random.pick(keys);
  const forMs = upTo(random, 3 * ttlMs);
  return {
    describe: `a transaction locks ${key} for ${ms(forMs)}`,
    start: ({ store }) => store.lock(idOf({ namespace: "default", key: `l\u001F${key}` }), forMs),
  };
});

const sweeps = fault("sweep", (random) => {
  const which = random.next();
  const earlyMs = random.range(3, 20);
  return {
    describe: `the store's clock stands ${ms(earlyMs)} before a record may go, clean-up, and back`,
    start({ store, world, ledger }) {
      const records = [...store.records];
      const [id, record] = records[Math.floor(which * records.length)] ?? [];
      if (id === undefined || record === undefined) return;
      const { current } = ledger.of(id);
      const due = dueMs(record, current) ?? store.nowMs() + 86_400_000;
      const byMs = due - earlyMs - store.nowMs();
      if (byMs <= 0) return;
      store.stepClock(byMs);
      store.setForwardAt = world.now();
      store.troubledAt = Math.max(store.troubledAt, world.now());
      void store.prune(1000, { name: "clean-up", sentAt: world.now() });
      // The step is over at once: nothing else runs in it.
      store.stepClock(-byMs);
    },
  };
});

const lags = ofProcess("lag", (random, { ttlMs }) => {
  const lagMs = random.range(0, 0.32 * ttlMs);
  const forMs = upTo(random, 3 * ttlMs);
  return {
    describe: `gets its answers ${ms(lagMs)} late for ${ms(forMs)}`,
    start({ world, links }, process, index) {
      const link = links[index];
      if (link === undefined) return;
      link.lagMs = lagMs;
      process.troubledAt = Math.max(process.troubledAt, world.now() + forMs + lagMs);
      world.after(forMs, () => {
        link.lagMs = 0;
      });
    },
  };
});

const cleanUps = fault("clean-up", () => ({
  describe: "clean-up",
  start: ({ store, world }) => void store.prune(1000, { name: "clean-up", sentAt: world.now() }),
}));

export const faults: readonly Kind[] = [
  pauses,
  kills,
  suspends,
  freezes,
  wallSteps,
  cuts,
  storeSteps,
  restarts,
  locks,
  cleanUps,
  sweeps,
  lags,
];
