import type { World } from "./world.ts";

/** The two clocks of one machine, which run wrong in every way that real ones do. */
export interface Machine {
  monotonicMs(): number;
  wallMs(): number;
  /** True time until the monotonic clock has gone on by `delayMs`, unless it stops meanwhile. */
  trueMs(delayMs: number): number;
  stepWall(byMs: number): void;
  /** `suspended`: the wall clock runs on; `frozen`: both stand still. */
  setMode(mode: "running" | "suspended" | "frozen"): void;
}

/** `rate`: how fast both clocks run, 1 = right. */
export function createMachine(world: World, rate: number, wallStartMs: number): Machine {
  let readAt = 0;
  let monotonic = 1000;
  let wall = wallStartMs;
  let mode: "running" | "suspended" | "frozen" = "running";
  const read = (): void => {
    const passed = (world.now() - readAt) * rate;
    readAt = world.now();
    if (mode === "running") monotonic += passed;
    if (mode !== "frozen") wall += passed;
  };
  return {
    monotonicMs() {
      read();
      return monotonic;
    },
    wallMs() {
      read();
      return Math.floor(wall);
    },
    trueMs: (delayMs) => delayMs / rate,
    stepWall(byMs) {
      read();
      wall += byMs;
    },
    setMode(next) {
      read();
      mode = next;
    },
  };
}
