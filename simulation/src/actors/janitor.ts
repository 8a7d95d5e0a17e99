import type { Kind } from "../plan.ts";
import { userScript } from "../user.ts";

/** Cleans up by hand, and looks at what is there. */
export const janitor: Kind = {
  name: "janitor",
  draw(random, shape) {
    const processIndex = random.int(0, shape.processes - 1);
    return userScript(
      "janitor",
      random.range(0, shape.chaosMs),
      processIndex,
      "prunes",
      async (user, coordinator) => {
        await coordinator.prune();
        for await (const info of coordinator.list()) {
          if (info.fence <= 0n) user.sim.violate("2 fences rise", `list shows fence ${info.fence}`);
        }
      },
    );
  },
};
