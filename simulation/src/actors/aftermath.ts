import type { Kind, Script } from "../plan.ts";
import { operatorAt } from "./operator.ts";
import { payerAt } from "./payer.ts";

/** A payment that is cut off in the middle, and all who care about it at once when its claim has lapsed. */
export const aftermath: Kind = {
  name: "aftermath",
  draw(random, shape): Script {
    const { ttlMs } = shape;
    const atMs = random.range(0, shape.chaosMs / 3);
    const index = random.int(0, shape.processes - 1);
    const key = "pay";
    const first = payerAt(random, shape, { atMs, index, key, worksMs: random.range(0.3, 2) * ttlMs });
    const spoilAfterMs = random.range(0, ttlMs / 2);
    const spoil = random.pick(["kill", "cut", "pause", "close"] as const);
    const forMs = random.range(1, 3) * ttlMs;
    const thenMs = atMs + spoilAfterMs + ttlMs * random.range(0.8, 2.5);
    const later = Array.from({ length: random.int(2, 4) }, () => {
      const spot = {
        atMs: thenMs + random.next() ** 2 * ttlMs,
        index: random.int(0, shape.processes - 1),
        key,
      };
      return random.chance(0.5) ? operatorAt(random, shape, spot) : payerAt(random, shape, spot);
    });
    const others = later.map(({ describe }) => describe).join("; ");
    return {
      atMs,
      describe: `aftermath: ${first.describe}; ${spoil} for ${Math.round(forMs)} ms; ${others}`,
      start(sim) {
        const { world, processes, links } = sim;
        first.start(sim);
        for (const script of later) world.at(script.atMs, () => script.start(sim));
        world.after(spoilAfterMs, () => {
          const process = processes[index];
          const link = links[index];
          if (process?.coordinator === undefined || link === undefined || process.blocked) return;
          world.note(() => `${process.name}: ${spoil} for ${forMs.toFixed(0)} ms`);
          if (spoil === "pause") process.block(forMs);
          else if (spoil === "cut") {
            link.cutUntil = Math.max(link.cutUntil, world.now() + forMs);
            process.troubledAt = Math.max(process.troubledAt, link.cutUntil);
          } else if (spoil === "close") {
            const { life } = process;
            process.troubledAt = Math.max(process.troubledAt, world.now() + forMs);
            process.closing = true;
            void process.coordinator.close({ graceMs: 0 });
            world.after(forMs, () => {
              if (process.life !== life) return;
              process.kill();
              process.start();
            });
          } else {
            process.kill();
            world.after(forMs, () => process.start());
          }
        });
      },
    };
  },
};
