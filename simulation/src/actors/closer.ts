import type { Kind } from "../plan.ts";
import { userScript } from "../user.ts";

/** A deployment: the process drains, ends, and a new one starts. */
export const closer: Kind = {
  name: "closer",
  draw(random, shape) {
    const graceMs = Math.round(random.next() ** 2 * 2 * shape.ttlMs);
    const processIndex = random.int(0, shape.processes - 1);
    return userScript(
      "closer",
      random.range(0, shape.chaosMs),
      processIndex,
      `grace ${graceMs} ms`,
      async (user, coordinator) => {
        const { process, sim } = user;
        const { life } = process;
        sim.world.note(() => `${process.name} begins to close`);
        process.closing = true;
        await coordinator.close({ graceMs });
        sim.world.note(() => `${process.name} is closed`);
        for (const held of sim.held) {
          if (held.process === process && held.life === life && !held.signal.aborted)
            sim.violate(
              "14 endings",
              `${process.name} closed, but the signal of ${held.holder} did not abort`,
            );
        }
        // What the old process still does in vain must not touch the new one, which is a process of its own.
        await process.sleep(1);
        process.kill();
        process.start();
      },
    );
  },
};
