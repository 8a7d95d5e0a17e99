import type { Backend } from "@coord/core";
import type { Kind } from "../plan.ts";
import type { User } from "../user.ts";
import { userScript } from "../user.ts";

const noOptions = { signal: new AbortController().signal, timeoutMs: 1000 };

/** Repeats a call until it is answered, as core does; `undefined` when it never is. */
async function answered<T>(user: User, limitMs: number, send: () => Promise<T>): Promise<T | undefined> {
  for (let attempt = 0; attempt < 4; attempt += 1) {
    const late = user.process.sleep(limitMs).then(() => undefined);
    const answer = await Promise.race([send().catch(() => undefined), late]);
    if (answer !== undefined) return answer;
    await user.process.sleep(limitMs / 10);
  }
  return undefined;
}

/**
 * Claims a sealed record, works and records an outcome, as `once` does, by the contract alone; or dies on
 * the way and leaves it to somebody who resolves it.
 */
export const sealed: Kind = {
  name: "sealed",
  draw(random, shape) {
    const { ttlMs } = shape;
    const processIndex = random.int(0, shape.processes - 1);
    const workMs = random.next() * 2 * ttlMs;
    const ending = random.pick(["completes", "completes", "fails", "dies"] as const);
    const resolves = random.chance(0.5);
    const resolveMs = random.range(0, 3 * ttlMs);
    const withFence = random.chance(0.7);
    const describe = `works ${Math.round(workMs)} ms, ${ending}${resolves ? ", is resolved" : ""}`;
    return userScript("sealed", random.range(0, shape.chaosMs), processIndex, describe, async (user) => {
      const { sim, process } = user;
      const backend: Backend | undefined = sim.links[processIndex]?.backend;
      if (backend === undefined) return;
      const name = { namespace: "default", key: "x\u001Fcharge" };
      const base = { name, retainMs: 60_000 };
      const grantId = process.host.randomId();
      const limitMs = ttlMs / 3;
      const claim = await answered(user, limitMs, () =>
        backend.acquire(
          {
            ...base,
            grantId,
            holder: `sealed ${grantId}`,
            ttlMs,
            sealed: true,
            payload: `executing ${grantId}`,
            ...(withFence && { ifFence: 0n }),
            withPayload: true,
          },
          noOptions,
        ),
      );
      if (claim?.outcome === "granted") {
        const { fence } = claim;
        await process.sleep(workMs / 2);
        const save = { name, grantId, fence, ttlMs, payload: `half ${grantId}`, payloadSeq: 1 };
        await answered(user, limitMs, () => backend.renew([save], noOptions));
        await process.sleep(workMs / 2);
        const outcome = ending === "fails" ? "failed" : "completed";
        const release = {
          ...base,
          grantId,
          fence,
          sealed: ending === "completes",
          payload: `${outcome} ${grantId}`,
        };
        if (ending !== "dies") await answered(user, limitMs, () => backend.release(release, noOptions));
      }
      if (!resolves) return;
      await process.sleep(resolveMs);
      const record = await answered(user, limitMs, () => backend.inspect(name, noOptions));
      if (record === undefined || record === null) return;
      const overrule = {
        ...base,
        grantId: process.host.randomId(),
        fence: record.fence,
        released: record.state === "free",
        sealed: random.chance(0.5),
        payload: `resolved ${record.grantId}`,
      };
      await answered(user, limitMs, () => backend.overrule(overrule, noOptions));
    });
  },
};
