import type { Lease } from "@coord/core";
import type { SimProcess } from "./process.ts";
import type { Script } from "./plan.ts";
import type { Acquisition, Handle, HeldLease, Sim } from "./sim.ts";
import { idOf } from "./store.ts";

/** What a user of the library does, told to the invariants on the way. */
export interface User {
  readonly sim: Sim;
  readonly process: SimProcess;
  readonly label: string;
  /** For what the store shall know it by. */
  newLabel(): string;
  ask(key: string, options: { ttlMs: number; waitMs: number }): Acquisition;
  got(acquisition: Acquisition, lease: Lease): HeldLease;
  /** Whether `assertHeld` passes. */
  check(held: Handle): boolean;
  /** Holds it for that long with a look every now and then; false as soon as it is lost. */
  hold(held: Handle, forMs: number, everyMs: number): Promise<boolean>;
  save(held: HeldLease): Promise<void>;
  release(held: HeldLease, dispose: boolean): Promise<void>;
  /** The user wants nothing of it any more. */
  over(acquisition: Acquisition, how: string): void;
  /** As `over`, for a call that failed; an error that no user should see is a violation. */
  failed(acquisition: Acquisition, error: unknown): void;
  expect(error: unknown): void;
}

/** What a wait that was given up is aborted with. */
export const enough = new Error("not wanted any more");
const usual = [
  "COORD_LEASE_LOST",
  "COORD_ACQUIRE_TIMEOUT",
  "COORD_UNAVAILABLE",
  "COORD_MOVED",
  "COORD_CLOSED",
];

let userCount = 0;
/** Numbers of users and saves begin anew with each run. */
export function resetUsers(): void {
  userCount = 0;
  saveCount = 0;
}
let saveCount = 0;

function createUser(sim: Sim, process: SimProcess, label: string): User {
  const { world } = sim;
  const user: User = {
    sim,
    process,
    label,
    newLabel() {
      userCount += 1;
      return `${label} ${userCount}`;
    },
    ask(key, { ttlMs, waitMs }) {
      const acquisition: Acquisition = {
        holder: user.newLabel(),
        process,
        life: process.life,
        id: idOf({ namespace: "default", key: `l\u001F${key}` }),
        ttlMs,
        waitMs,
        askedAt: world.now(),
        settledAt: undefined,
        held: undefined,
        overAt: undefined,
        over: { how: "" },
      };
      world.note(() => `${acquisition.holder} on ${process.name} asks for ${key}, waits ${waitMs} ms`);
      sim.acquisitions.push(acquisition);
      sim.tell("asked", (observer) => observer.asked?.(acquisition));
      return acquisition;
    },
    got(acquisition, lease) {
      const { holder, id, ttlMs, askedAt } = acquisition;
      const held = {
        holder,
        process,
        life: acquisition.life,
        id,
        ttlMs,
        askedAt,
        lease,
        acquisition,
        grant: lease.grant,
        signal: lease.signal,
        left: false,
        assertHeld: () => lease.assertHeld(),
      };
      acquisition.settledAt = world.now();
      acquisition.held = held;
      sim.held.add(held);
      world.note(() => `${acquisition.holder} has ${lease.key} under fence ${lease.fence}`);
      sim.tell("leased", (observer) => observer.leased?.(held));
      return held;
    },
    check(held) {
      try {
        held.assertHeld();
      } catch (error) {
        user.expect(error);
        const reason = error instanceof Error && "reason" in error ? String(error.reason) : "unknown";
        world.note(() => `${held.holder} lost it: ${reason}`);
        if (sim.held.has(held)) sim.tell("lost", (observer) => observer.lost?.(held, reason));
        return false;
      }
      sim.tell("asserted", (observer) => observer.asserted?.(held));
      return true;
    },
    async hold(held, forMs, everyMs) {
      const until = process.machine.monotonicMs() + forMs;
      while (user.check(held)) {
        const rest = until - process.machine.monotonicMs();
        if (rest <= 0) return true;
        await process.sleep(Math.min(everyMs, rest));
      }
      return false;
    },
    async save(held) {
      saveCount += 1;
      const number = saveCount;
      try {
        await held.lease.save(number);
        world.note(() => `${held.acquisition.holder} saved ${number}`);
        sim.tell("saved", (observer) => observer.saved?.(held, number));
      } catch (error) {
        user.expect(error);
        world.note(() => `${held.acquisition.holder} could not save ${number}`);
      }
    },
    async release(held, dispose) {
      user.over(held.acquisition, dispose ? "disposes" : "releases");
      sim.held.delete(held);
      try {
        await (dispose ? held.lease[Symbol.asyncDispose]() : held.lease.release());
        world.note(() => `${held.acquisition.holder} released`);
        sim.tell("released", (observer) => observer.released?.(held));
      } catch (error) {
        user.expect(error);
      }
    },
    over(acquisition, how) {
      if (acquisition.overAt !== undefined) return;
      acquisition.overAt = world.now();
      acquisition.over.how = how;
      world.note(() => `${acquisition.holder} ${how}`);
      sim.tell("over", (observer) => observer.over?.(acquisition));
    },
    failed(acquisition, error) {
      acquisition.settledAt ??= world.now();
      user.expect(error);
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      // What comes after the lease was there is no failure of the waiting.
      if (acquisition.held === undefined)
        sim.tell("failed", (observer) => observer.failed?.(acquisition, code));
      user.over(acquisition, `gives up: ${error instanceof Error ? error.message : String(error)}`);
    },
    expect(error) {
      if (error === enough) return;
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (typeof code === "string" && usual.includes(code)) return;
      sim.violate("errors", `${label} got what no user should see: ${String(error)}`);
    },
  };
  return user;
}

/** The script of a user in the process of that number, from 1. */
export function userScript(
  name: string,
  atMs: number,
  processIndex: number,
  describe: string,
  run: (user: User, coordinator: NonNullable<SimProcess["coordinator"]>) => Promise<void>,
): Script {
  return {
    atMs,
    describe: `${name} on p${processIndex + 1}: ${describe}`,
    start(sim) {
      const process = sim.processes[processIndex];
      process?.deliver(() => {
        if (process.coordinator === undefined) return;
        const user = createUser(sim, process, name);
        const busy = { label: name, process, life: process.life };
        sim.busy.add(busy);
        run(user, process.coordinator)
          .catch((error: unknown) => user.expect(error))
          .finally(() => sim.busy.delete(busy));
      });
    },
  };
}
