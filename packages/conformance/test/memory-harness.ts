import type { Backend, Name } from "@coord/core";
import { createMemoryStore, memoryBackend, UnavailableError } from "@coord/core";
import type { Harness } from "../src/harness.ts";

const wallClockUs = (): bigint => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000));
const idOf = ({ namespace, key }: Name): string => `${namespace}\u0000${key}`;

let opens = 0;

/** The memory backend of core: on its real clock, or on one that passes without waiting. */
export function memoryHarness(clock: "real" | "injected"): Harness {
  return {
    name: `memory (${clock} clock)`,
    timing: { ttlMs: 400, slackMs: 100, pollMs: 5, callMs: 2000 },
    declared: { wakeMs: 10_000 },
    concurrency: 16,
    async open() {
      const store = createMemoryStore();
      const namespace = `memory_${(opens += 1)}`;
      let aheadMs = 0;
      let swallowing = false;
      const options = { store, nowUs: () => wallClockUs() + BigInt(Math.round(aheadMs * 1000)) };
      const memory = memoryBackend(options);
      const shift = (ms: number): void => void (aheadMs += ms);
      const losing = async <T>(result: Promise<T>): Promise<T> => {
        const answer = await result;
        if (!swallowing) return answer;
        swallowing = false;
        throw new UnavailableError("memory: the reply was lost. Repeat the request.");
      };
      const backend: Backend = {
        ...memory,
        acquire: (request, call) => losing(memory.acquire(request, call)),
        renew: (requests, call) => losing(memory.renew(requests, call)),
        release: (request, call) => losing(memory.release(request, call)),
        overrule: (request, call) => losing(memory.overrule(request, call)),
      };
      return {
        backend,
        namespace,
        second: async () => memoryBackend(options),
        close: async () => {},
        ...(clock === "injected" && { passTime: shift }),
        stepClock: shift,
        swallowNextReply: () => void (swallowing = true),
        writeFence(name, fence) {
          const record = store.records.get(idOf(name));
          if (record !== undefined) store.records.set(idOf(name), { ...record, fence });
        },
        deleteRecord: (name) => void store.records.delete(idOf(name)),
        footprint: () => store.records.size + store.waiting.size,
      };
    },
  };
}
