import type { Backend, LeaseRecord, Name } from "./backend.ts";
import { acquire, compareKeys, isHeld, isPurgeable, overrule, release, renew, view } from "./record.ts";
import type { Step } from "./record.ts";

/** What several memory backends of one process may share; empty at first. */
export interface MemoryStore {
  readonly records: Map<string, LeaseRecord>;
  /** Who waits for a name, the next to be woken first. */
  readonly waiting: Map<string, Set<() => void>>;
}

export interface MemoryBackendOptions {
  /** Shared with other memory backends of this process. @default a store of its own */
  store?: MemoryStore | undefined;
  /** The store's clock in microseconds since 1970. @default the wall clock */
  nowUs?: (() => bigint) | undefined;
}

export function createMemoryStore(): MemoryStore {
  return { records: new Map(), waiting: new Map() };
}

const idOf = (name: Name): string => `${name.namespace}\u0000${name.key}`;
const wallClockUs = (): bigint => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000));

/** Leases within one process, for tests and single-process programs: it excludes nobody else. */
export function memoryBackend(options: MemoryBackendOptions = {}): Backend {
  const { store = createMemoryStore(), nowUs = wallClockUs } = options;
  const { records, waiting } = store;

  function take<Result>(
    name: Name,
    step: (record: LeaseRecord | null, nowUs: bigint) => Step<Result>,
  ): Result {
    const id = idOf(name);
    const before = records.get(id) ?? null;
    const { record, result } = step(before, nowUs());
    if (record !== before && record !== null) {
      records.set(id, record);
      if (record.expiresAt === 0) wake(id, record.sealed);
    }
    return result;
  }

  /** One contender a release, in turn; all of them when it was sealed, as all may read the outcome. */
  function wake(id: string, all: boolean): void {
    const queue = waiting.get(id);
    if (queue === undefined) return;
    const contenders = [...queue];
    for (const onWake of contenders) {
      queue.delete(onWake);
      queue.add(onWake);
      queueMicrotask(onWake);
      if (!all) return;
    }
  }

  return {
    info: { name: "memory", minTtlMs: 20, maxRenewBatch: 10_000 },
    acquire: async (request) => take(request.name, (record, now) => acquire(record, request, now)),
    renew: async (requests) =>
      requests.map((request) => take(request.name, (record, now) => renew(record, request, now))),
    release: async (request) => take(request.name, (record, now) => release(record, request, now)),
    inspect: async (name) => {
      const record = records.get(idOf(name));
      return record === undefined ? null : view(record, nowUs());
    },
    overrule: async (request) => take(request.name, (record, now) => overrule(record, request, now)),
    list: async ({ namespace, prefix, state, sealed, after, limit }) => {
      const now = nowUs();
      return [...records.values()]
        .filter((record) => record.namespace === namespace && record.key.startsWith(prefix))
        .filter((record) => after === undefined || compareKeys(record.key, after) > 0)
        .map((record) => ({ ...view(record, now), payload: undefined }))
        .filter((seen) => state === undefined || seen.state === state)
        .filter((seen) => sealed === undefined || seen.sealed === sealed)
        .toSorted((a, b) => compareKeys(a.key, b.key))
        .slice(0, limit);
    },
    prune: async ({ limit }) => {
      const now = nowUs();
      const gone = [...records].filter(([, record]) => isPurgeable(record, now)).slice(0, limit);
      for (const [id] of gone) records.delete(id);
      return gone.length;
    },
    setup: async () => {},
    diagnose: async () => {
      const storeMs = Number(nowUs() / 1000n);
      return {
        findings: [
          {
            level: "warning",
            message: "The memory backend excludes nobody outside this process and forgets all at its end.",
            remedy: "Use a backend with a server wherever more than one process runs.",
          },
        ],
        clock: { storeMs, beforeMs: storeMs, afterMs: storeMs },
      };
    },
    close: async () => {},
    watch: async (name, onWake) => {
      const id = idOf(name);
      const queue = waiting.get(id) ?? new Set();
      waiting.set(id, queue.add(onWake));
      return {
        live: true,
        close: async () => {
          if (!queue.delete(onWake)) return;
          if (queue.size === 0 && waiting.get(id) === queue) waiting.delete(id);
          // It may have been woken and leave without trying: pass its turn on.
          else if (!isHeld(records.get(id) ?? null, nowUs())) wake(id, false);
        },
      };
    },
  };
}
