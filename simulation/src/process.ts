import type { Coordinator, Host } from "@coord/core";
import type { Machine } from "./machine.ts";
import type { Random } from "./random.ts";
import type { World } from "./world.ts";

/** A simulated process: one event loop on one machine, which may be stopped, killed and started again. */
export interface SimProcess {
  readonly name: string;
  readonly machine: Machine;
  readonly host: Host;
  /** `undefined` while it is dead. */
  readonly coordinator: Coordinator | undefined;
  /** Rises with every start. */
  readonly life: number;
  /** Timers of its coordinator, not of its users. */
  readonly timers: number;
  /** Whether its loop can't run now. */
  readonly blocked: boolean;
  /** Until when it stands still for longer than any margin allows for, in true time. */
  excusedUntil: number;
  /** When a fault last touched it or its messages, in true time. */
  troubledAt: number;
  /** When its clocks last did what no deadline can see (both stood still). */
  deceivedAt: number;
  /** When its wall clock was last set back. */
  wallSetBackAt: number;
  /** Until when its loop was or is blocked. */
  readonly blockedUntil: number;
  /** When its clocks last went on by more than the time that passed. */
  clockJumpedAt: number;
  /** When it last could run again after a suspension. */
  suspendedUntil: number;
  /** Runs as soon as the loop is free, unless the process died meanwhile. */
  deliver(run: () => void, kind?: "timer" | "message"): void;
  sleep(delayMs: number): Promise<void>;
  block(forMs: number): void;
  kill(): void;
  start(): void;
  /** Whether its coordinator is being closed in this life. */
  closing: boolean;
  /** Runs whenever it is started again. */
  onStart(listener: () => void): void;
  /** Runs whenever it is killed. */
  onKill(listener: () => void): void;
  /** Runs once, when this life of the process ends. */
  onDeath(listener: () => void): void;
}

/** A loop that is blocked for less is what the margin of 50 ms is for, with timers that are late. */
const shortestExcuseMs = 30;

export interface ProcessOptions {
  readonly name: string;
  readonly machine: Machine;
  readonly random: Random;
  /** How late timers may be, in milliseconds. */
  readonly timersLateMs: () => number;
  readonly createCoordinator: (host: Host, life: number) => Coordinator;
}

export function createProcess(world: World, options: ProcessOptions): SimProcess {
  const { name, machine, random } = options;
  const timers = new Set<object>();
  const sleeps = new Set<object>();
  let life = 0;
  let ids = 0;
  let coordinator: Coordinator | undefined;
  let blockedUntil = 0;
  let blockedSince = 0;
  let deferred: { kind: "timer" | "message"; run: () => void; life: number }[] = [];

  function deliver(run: () => void, kind: "timer" | "message" = "message"): void {
    if (coordinator === undefined) return;
    if (world.now() < blockedUntil) deferred.push({ kind, run, life });
    else run();
  }

  /** What has waited runs now: timers before messages or after them, as a real loop may have it. */
  function unblock(): void {
    if (world.now() < blockedUntil) return;
    const first = random.chance(0.5) ? "timer" : "message";
    const waiting = deferred;
    deferred = [];
    for (const kind of [first, first === "timer" ? "message" : "timer"]) {
      for (const entry of waiting.filter((one) => one.kind === kind)) {
        world.at(world.now(), () => {
          if (entry.life === life) deliver(entry.run, entry.kind);
        });
      }
    }
  }

  function setTimer(run: () => void, delayMs: number, from: Set<object>): () => void {
    const timer = {};
    from.add(timer);
    const born = life;
    const dueAt = machine.monotonicMs() + Math.max(1, Math.trunc(delayMs));
    const fire = (): void => {
      if (born !== life || !from.has(timer)) return;
      if (machine.monotonicMs() < dueAt - 1) return arm(0);
      from.delete(timer);
      run();
    };
    const arm = (lateMs: number): void => {
      const delay = machine.trueMs(dueAt - machine.monotonicMs()) + lateMs;
      world.after(Math.max(0, delay), () => {
        if (born === life && from.has(timer)) deliver(fire, "timer");
      });
    };
    // A real loop counts whole milliseconds, so that a timer may also come a little early.
    arm(random.range(-1, options.timersLateMs()));
    return () => from.delete(timer);
  }

  const host: Host = {
    monotonicMs: () => machine.monotonicMs(),
    wallMs: () => machine.wallMs(),
    setTimer: (run, delayMs) => setTimer(run, delayMs, timers),
    random: () => random.next(),
    randomId: () => {
      ids += 1;
      return `${name}.${ids}`;
    },
  };
  let deathListeners: (() => void)[] = [];
  const killListeners: (() => void)[] = [];
  const startListeners: (() => void)[] = [];

  const self: SimProcess = {
    name,
    machine,
    host,
    get coordinator() {
      return coordinator;
    },
    get life() {
      return life;
    },
    get timers() {
      return timers.size;
    },
    get blocked() {
      return world.now() < blockedUntil;
    },
    excusedUntil: -Infinity,
    troubledAt: -Infinity,
    deceivedAt: -Infinity,
    wallSetBackAt: -Infinity,
    get blockedUntil() {
      return blockedUntil;
    },
    clockJumpedAt: -Infinity,
    suspendedUntil: -Infinity,
    deliver,
    sleep: (delayMs) =>
      new Promise((resolve) => {
        setTimer(resolve, delayMs, sleeps);
      }),
    block(forMs) {
      if (world.now() >= blockedUntil) blockedSince = world.now();
      blockedUntil = Math.max(blockedUntil, world.now() + forMs);
      if (blockedUntil - blockedSince > shortestExcuseMs) self.excusedUntil = blockedUntil;
      self.troubledAt = Math.max(self.troubledAt, blockedUntil);
      world.at(blockedUntil, unblock);
    },
    kill() {
      coordinator = undefined;
      deferred = [];
      timers.clear();
      sleeps.clear();
      life += 1;
      blockedUntil = 0;
      self.troubledAt = world.now();
      for (const listener of [...deathListeners, ...killListeners]) listener();
      deathListeners = [];
    },
    start() {
      life += 1;
      self.troubledAt = world.now();
      self.closing = false;
      coordinator = options.createCoordinator(host, life);
      for (const listener of startListeners) listener();
    },
    closing: false,
    onStart: (listener) => void startListeners.push(listener),
    onKill: (listener) => void killListeners.push(listener),
    onDeath: (listener) => void deathListeners.push(listener),
  };
  return self;
}
