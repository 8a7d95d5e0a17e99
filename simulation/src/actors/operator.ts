import type { Resolution } from "@coord/core";
import { truthOf } from "../book.ts";
import type { Kind, Script, Shape } from "../plan.ts";
import type { Random } from "../random.ts";
import { userScript } from "../user.ts";
import type { Spot } from "./payer.ts";
import { paymentId, paymentKeys } from "./payer.ts";

/** Somebody who resolves what is uncertain, after a look or after too long a look; and never says what is not so. */
export function operatorAt(random: Random, shape: Shape, { atMs, index, key }: Spot): Script {
  const thinksMs = random.next() ** 2 * shape.ttlMs;
  const gives = random.chance(0.1);
  const describe = `resolves ${key}, after ${Math.round(thinksMs)} ms`;
  return userScript("operator", atMs, index, describe, async (user, coordinator) => {
    const { sim, process } = user;
    const { world, book } = sim;
    const id = paymentId(key);
    const info = await coordinator.executions.get(key);
    if (info === null || info.status === "completed" || info.status === "failed") return;
    await process.sleep(thinksMs);
    const owner = book.call(info.holder);
    const ownerIsDead = owner === undefined || owner.process.life !== owner.life;
    const truth = truthOf(book.of(id));
    const safe = ownerIsDead || book.of(id).runs.at(-1)?.inTransaction === true;
    if (truth === "unknown" || (info.status === "running" && !safe)) return;
    const by = user.newLabel();
    const { fence } = info;
    const as = truth === "not-done" && gives ? "failed" : truth;
    const { response = "" } = book.of(id);
    const resolution: Resolution = as === "completed" ? { fence, by, as, response } : { fence, by, as };
    book.asked.set(by, { state: as, fence });
    world.note(() => `${by} resolves ${key}, fence ${fence}, as ${as}`);
    let failure: unknown;
    try {
      await coordinator.executions.resolve(key, resolution);
    } catch (error) {
      failure = error;
    }
    world.note(() => `${by} is answered: ${failure === undefined ? "done" : String(failure)}`);
    sim.tell("resolved", (observer) => observer.resolved?.(by, id, failure));
  });
}

export const operator: Kind = {
  name: "operator",
  draw: (random, shape) =>
    operatorAt(random, shape, {
      atMs: random.range(0, shape.chaosMs * 1.3),
      index: random.int(0, shape.processes - 1),
      key: random.pick(paymentKeys),
    }),
};
