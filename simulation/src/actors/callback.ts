import type { Kind } from "../plan.ts";
import { enough, userScript } from "../user.ts";

/** Runs callbacks under leases, with a shortest time to hold now and then. */
export const callback: Kind = {
  name: "callback",
  draw(random, shape) {
    const { ttlMs } = shape;
    const key = random.pick(shape.keys);
    const waits = random.chance(0.5);
    const waitMs = waits ? Math.round(random.range(0, 5 * ttlMs)) : 0;
    const minHoldMs = random.chance(0.5) ? Math.round(random.range(0, 2 * ttlMs)) : 0;
    const holdMs = random.next() ** 2 * ttlMs;
    const everyMs = random.range(ttlMs / 20, ttlMs / 2);
    const times = random.int(1, 3);
    const describe = `${key} ${times} times for ${Math.round(holdMs)} ms, minHoldMs ${minHoldMs}`;
    const processIndex = random.int(0, shape.processes - 1);
    return userScript(
      "callback",
      random.range(0, shape.chaosMs),
      processIndex,
      describe,
      async (user, coordinator) => {
        for (let i = 0; i < times; i += 1) {
          const acquisition = user.ask(key, { ttlMs, waitMs });
          const { holder } = acquisition;
          try {
            const work = async (lease: Parameters<typeof user.got>[1]): Promise<void> => {
              const held = user.got(acquisition, lease);
              const kept = await user.hold(held, holdMs, everyMs);
              held.left = kept && minHoldMs > 0;
              user.sim.held.delete(held);
              if (!held.left) user.over(acquisition, "returns");
            };
            if (waits) await coordinator.withLease(key, { ttlMs, waitMs, minHoldMs, holder }, work);
            else {
              const ran = await coordinator.tryWithLease(key, { ttlMs, minHoldMs, holder }, work);
              if (!ran.acquired) user.failed(acquisition, enough);
            }
          } catch (error) {
            user.failed(acquisition, error);
          }
          await user.process.sleep(1);
        }
      },
    );
  },
};
