import type { Kind } from "../plan.ts";
import { userScript } from "../user.ts";

/** An operator who takes leases away, after a look or after too long a look. */
export const breaker: Kind = {
  name: "breaker",
  draw(random, shape) {
    const key = random.pick(shape.keys);
    const now = random.chance(0.3);
    const thinksMs = random.next() ** 2 * shape.ttlMs;
    const describe = `${key}${now ? " now" : ""}, after ${Math.round(thinksMs)} ms`;
    const processIndex = random.int(0, shape.processes - 1);
    return userScript(
      "breaker",
      random.range(0, shape.chaosMs),
      processIndex,
      describe,
      async (user, coordinator) => {
        const { world } = user.sim;
        const seen = await coordinator.inspect(key);
        if (seen === null) return;
        await user.process.sleep(thinksMs);
        const { fence } = await coordinator.breakLease(key, { fence: seen.fence, by: "operator", now });
        world.note(() => `breaker took ${key} (fence ${seen.fence}) away: fence ${fence}`);
        if (fence <= seen.fence)
          user.sim.violate("2 fences rise", `breaking fence ${seen.fence} of ${key} gave fence ${fence}`);
      },
    );
  },
};
