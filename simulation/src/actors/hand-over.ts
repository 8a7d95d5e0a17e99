import type { Kind } from "../plan.ts";
import { userScript } from "../user.ts";

/** Detaches a lease and hands the text to another process, which adopts it in time, late, or twice. */
export const handOver: Kind = {
  name: "hand-over",
  draw(random, shape) {
    const { ttlMs } = shape;
    const key = random.pick(shape.keys);
    const holdMs = random.range(0, ttlMs);
    const afterMs = random.next() ** 2 * 2 * ttlMs;
    const times = random.pick([0, 1, 1, 2]);
    const heirIndex = random.int(0, shape.processes - 1);
    const describe = `${key}, to p${heirIndex + 1} after ${Math.round(afterMs)} ms, adopted ${times} times`;
    const processIndex = random.int(0, shape.processes - 1);
    return userScript(
      "hand-over",
      random.range(0, shape.chaosMs),
      processIndex,
      describe,
      async (user, coordinator) => {
        const acquisition = user.ask(key, { ttlMs, waitMs: ttlMs });
        try {
          const lease = await coordinator.acquire(key, { ttlMs, waitMs: ttlMs, holder: acquisition.holder });
          const held = user.got(acquisition, lease);
          if (!(await user.hold(held, holdMs, ttlMs / 7))) return await user.release(held, false);
          const text = lease.detach();
          held.left = true;
          user.sim.held.delete(held);
          user.over(acquisition, "detaches");
          const atMs = user.sim.world.now() + afterMs;
          for (let i = 0; i < times; i += 1) {
            const adopt = userScript("heir", atMs, heirIndex, key, async (heir, theirs) => {
              const adoption = heir.ask(key, { ttlMs, waitMs: 0 });
              try {
                const adopted = heir.got(adoption, await theirs.adopt(text, { holder: adoption.holder }));
                await heir.hold(adopted, holdMs, ttlMs / 7);
                await heir.release(adopted, true);
              } catch (error) {
                heir.failed(adoption, error);
              }
            });
            user.sim.world.at(atMs, () => adopt.start(user.sim));
          }
        } catch (error) {
          user.failed(acquisition, error);
        }
      },
    );
  },
};
