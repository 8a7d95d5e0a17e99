import type { Kind, Script, Shape } from "../plan.ts";
import type { Random } from "../random.ts";
import { enough, userScript } from "../user.ts";

/** Acquires with patience or without, works, saves, and ends it in one of the ways there are. */
export const worker: Kind = {
  name: "worker",
  draw(random, shape) {
    const atMs = random.range(0, shape.chaosMs);
    const processIndex = random.int(0, shape.processes - 1);
    const [first, second] = shape.keys;
    const one = workerFor(random.pick(shape.keys), atMs, processIndex, random, shape);
    if (second === undefined || random.chance(0.5)) return one;
    // Both at once, so that they are renewed together.
    const pair = [first, second].map((key) => workerFor(key, atMs, processIndex, random, shape));
    return {
      atMs,
      describe: pair.map(({ describe }) => describe).join(", and "),
      start(sim) {
        for (const script of pair) script.start(sim);
      },
    };
  },
};

function workerFor(key: string, atMs: number, processIndex: number, random: Random, shape: Shape): Script {
  const { ttlMs } = shape;
  const waitMs = Math.round(random.pick([0, 0.5 * ttlMs, 3 * ttlMs, 10 * ttlMs]));
  const holdMs = random.next() ** 2 * 3 * ttlMs;
  const everyMs = random.range(ttlMs / 20, ttlMs / 2);
  const saves = random.pick([0, 0, 1, 3]);
  const dispose = random.chance(0.5);
  const abortMs = random.chance(0.25) ? random.next() ** 2 * 2 * ttlMs : undefined;
  const abort = abortMs === undefined ? "" : `, gives up after ${Math.round(abortMs)} ms`;
  const describe = `${key}, waits ${waitMs} ms${abort}, holds ${Math.round(holdMs)} ms, ${saves} saves`;
  return userScript("worker", atMs, processIndex, describe, async (user, coordinator) => {
    const { process } = user;
    const acquisition = user.ask(key, { ttlMs, waitMs });
    const controller = new AbortController();
    if (abortMs !== undefined) {
      void process.sleep(abortMs).then(() => {
        if (acquisition.settledAt !== undefined) return;
        user.over(acquisition, "aborts");
        controller.abort(enough);
      });
    }
    try {
      const lease = await coordinator.acquire(key, {
        ttlMs,
        waitMs,
        holder: acquisition.holder,
        signal: controller.signal,
      });
      const held = user.got(acquisition, lease);
      for (let i = 0; i <= saves; i += 1) {
        if (!(await user.hold(held, holdMs / (saves + 1), everyMs))) break;
        if (i < saves) await user.save(held);
      }
      await user.release(held, dispose);
    } catch (error) {
      user.failed(acquisition, error);
    }
  });
}
