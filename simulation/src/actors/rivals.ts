import type { Kind, Script } from "../plan.ts";
import type { Sim } from "../sim.ts";
import { userScript } from "../user.ts";

/** An operator at another place takes it away while all is well. */
function breakIt(sim: Sim, index: number, key: string, now: boolean): void {
  const process = sim.processes[index];
  process?.deliver(() => {
    const { coordinator } = process;
    if (coordinator === undefined) return;
    void coordinator
      .inspect(key)
      .then((seen) => seen && coordinator.breakLease(key, { fence: seen.fence, by: "operator", now }))
      .catch(() => undefined);
  });
}

/**
 * The dangerous case on purpose: one holds on, its answers come late, it is cut off, and another one in
 * another process stands ready to take over at the very instant the store lets it.
 */
export const rivals: Kind = {
  name: "rivals",
  draw(random, shape): Script {
    const { ttlMs } = shape;
    const key = random.pick(shape.keys);
    const atMs = random.range(0, shape.chaosMs / 3);
    const index = random.int(0, shape.processes - 1);
    const rivalIndex = (index + 1) % shape.processes;
    const peaceful = random.chance(0.25);
    const breaks = random.pick(["", "", "", "now", "later"] as const);
    const lagMs = !peaceful && breaks === "" && random.chance(0.5) ? random.range(0.05, 0.3) * ttlMs : 0;
    const stopAfterMs = !peaceful && random.chance(0.2) ? random.range(0, 3) : undefined;
    const stopMs = random.range(0.5, 2) * ttlMs;
    const cutAfterMs = random.next() ** 2 * ttlMs;
    const everyMs = random.range(ttlMs / 50, ttlMs / 10);
    const acquire = { ttlMs, waitMs: 6 * ttlMs };
    // Its loop is busy for a moment, just when its time is over.
    const hiccup = random.chance(0.4)
      ? { beforeMs: random.range(20, 60), forMs: random.range(20, 29) }
      : undefined;
    const holder = userScript("incumbent", atMs, index, key, async (user, coordinator) => {
      const { process, sim } = user;
      const link = sim.links[index];
      if (link === undefined) return;
      const { world } = sim;
      const lag = world.now() < shape.chaosMs ? lagMs : 0;
      link.lagMs = lag;
      process.onDeath(() => {
        link.lagMs = 0;
      });
      if (lag > 0) process.troubledAt = Math.max(process.troubledAt, world.now() + 4 * ttlMs);
      if (stopAfterMs !== undefined) {
        world.after(stopAfterMs, () => {
          if (process.coordinator !== undefined && !process.blocked) process.block(stopMs);
        });
      }
      const acquisition = user.ask(key, acquire);
      try {
        const lease = await coordinator.acquire(key, { ...acquire, holder: acquisition.holder });
        const held = user.got(acquisition, lease);
        if (peaceful) {
          await user.hold(held, ttlMs / 4, everyMs);
          return await user.release(held, true);
        }
        world.after(cutAfterMs, () => {
          link.lagMs = 0;
          if (world.now() >= shape.chaosMs) return;
          if (breaks !== "") return breakIt(sim, rivalIndex, key, breaks === "now");
          world.note(() => `${process.name} is cut off`);
          link.cutUntil = Math.max(link.cutUntil, world.now() + 2 * ttlMs);
          process.troubledAt = Math.max(process.troubledAt, link.cutUntil);
          const leftMs = (sim.store.peek(held.id)?.expiresAt ?? 0) - sim.store.nowMs();
          if (hiccup === undefined || leftMs < hiccup.beforeMs) return;
          world.after(leftMs - hiccup.beforeMs, () => {
            if (process.coordinator !== undefined && !process.blocked) process.block(hiccup.forMs);
          });
        });
        await user.hold(held, 3 * ttlMs, everyMs);
        await user.release(held, true);
      } catch (error) {
        user.failed(acquisition, error);
      } finally {
        link.lagMs = 0;
      }
    });
    const [, other] = shape.keys;
    // Renewed together with the first, and none of its troubles may touch it.
    const companion = userScript("companion", atMs, index, other ?? "", async (user, coordinator) => {
      if (other === undefined) return;
      const acquisition = user.ask(other, { ttlMs, waitMs: 0 });
      try {
        const lease = await coordinator.acquire(other, { ttlMs, waitMs: 0, holder: acquisition.holder });
        const held = user.got(acquisition, lease);
        await user.hold(held, 3 * ttlMs, everyMs);
        await user.release(held, true);
      } catch (error) {
        user.failed(acquisition, error);
      }
    });
    const rival = userScript("rival", atMs, rivalIndex, key, async (user, coordinator) => {
      await user.process.sleep(ttlMs / 10);
      const acquisition = user.ask(key, acquire);
      try {
        const lease = await coordinator.acquire(key, { ...acquire, holder: acquisition.holder });
        const held = user.got(acquisition, lease);
        await user.hold(held, ttlMs / 2, everyMs);
        await user.release(held, false);
      } catch (error) {
        user.failed(acquisition, error);
      }
    });
    const cut = `answers ${Math.round(lagMs)} ms late, cut off after ${Math.round(cutAfterMs)} ms`;
    return {
      atMs,
      describe: `rivals for ${key}: p${index + 1} (${cut}), then p${rivalIndex + 1}`,
      start(sim) {
        holder.start(sim);
        if (other !== undefined && key !== other) companion.start(sim);
        rival.start(sim);
      },
    };
  },
};
