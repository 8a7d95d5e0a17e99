import type { Observer, Sim } from "../sim.ts";

/** 18: at rest nothing is left behind, and 17: what is due goes, and nothing else. */
export function rest(sim: Sim): Observer {
  const { store, world } = sim;
  return {
    rest() {
      for (const process of sim.processes) {
        // Work that does not settle is told of as long as it goes on.
        const works = sim.candidates.some((one) => one.process === process && one.working !== undefined);
        if (process.coordinator !== undefined && process.timers > 0 && !works)
          sim.violate("18 rest", `${process.name} is closed and has ${process.timers} timers`);
      }
      if (store.watchers > 0) sim.violate("18 rest", `${store.watchers} subscriptions are left in the store`);
      const before = store.records.size;
      const dueNow = [...store.records.values()].filter(
        ({ purgeAt, expiresAt }) =>
          purgeAt !== null && purgeAt + 2 < store.nowMs() && expiresAt < store.nowMs(),
      ).length;
      void store.prune(10_000, { name: "clean-up", sentAt: world.now() });
      if (before - store.records.size < dueNow)
        sim.violate("17 purged in time", `${dueNow} records are past their time, and clean-up left them`);
    },
  };
}
