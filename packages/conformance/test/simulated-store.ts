/**
 * A store behind a simulated network, with every fault that the suite knows, over the law of core. Whatever
 * is to be broken can be: the steps, the finished backend, or the store itself.
 */
import type { Backend, CallOptions, Diagnosis, LeaseRecord, Name, Step } from "@coord/core";
import { compareKeys, ConfigurationError, transitions, UnavailableError, view } from "@coord/core";

type Law = typeof transitions;
export type Steps = {
  readonly [Verb in "acquire" | "renew" | "release" | "overrule"]: (
    record: LeaseRecord | null,
    request: Parameters<Law[Verb]>[1],
    nowUs: bigint,
  ) => Step<
    Awaited<ReturnType<Backend[Verb]>> extends (infer Outcome)[]
      ? Outcome
      : Awaited<ReturnType<Backend[Verb]>>
  >;
} & { readonly isPurgeable: (record: LeaseRecord, nowUs: bigint) => boolean };

interface Ear {
  readonly onWake: () => void;
  readonly line: Line;
  live: boolean;
}

/** One client's connection. */
export interface Line {
  /** Raised when it is killed: calls on their way are not answered. */
  generation: number;
  cut: boolean;
  swallowing: boolean;
  /** How many calls it carries at once. */
  free: number;
  readonly waiting: (() => void)[];
}

export interface Store {
  readonly records: Map<string, LeaseRecord>;
  readonly ears: Map<string, Ear[]>;
  readonly lines: Set<Line>;
  readonly locks: Map<string, Promise<void>>;
  /** How far the clock is ahead of this machine's. */
  aheadMs: number;
  down: Promise<void> | undefined;
  isSetUp: boolean;
  /** Milliseconds until a killed line is replaced. */
  reconnectMs: number;
  linesPerAcquire: number;
  /** Whether a subscription whose line is killed says so; else it is deaf from then on. */
  saysDown: boolean;
  /** Whom a release wakes. */
  wakes: (ears: readonly Ear[]) => readonly Ear[];
}

export function simulatedStore(): Store {
  return {
    records: new Map(),
    ears: new Map(),
    lines: new Set(),
    locks: new Map(),
    aheadMs: 0,
    down: undefined,
    isSetUp: true,
    reconnectMs: 20,
    linesPerAcquire: 1,
    saysDown: true,
    wakes: (ears) => ears.slice(0, 1),
  };
}

export const idOf = ({ namespace, key }: Name): string => `${namespace}\u0000${key}`;

export function storeNowUs({ aheadMs }: Store): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now() + aheadMs) * 1000));
}

export function connect(store: Store, free = Infinity): Line {
  const line = { generation: 0, cut: false, swallowing: false, free, waiting: [] };
  store.lines.add(line);
  return line;
}

/** The server ends a line; it is replaced a little later. */
export function killLine(store: Store, line: Line): void {
  line.generation += 1;
  const ears = [...store.ears.values()].flat().filter((ear) => ear.line === line);
  const report = (live: boolean): void => {
    for (const ear of ears) {
      ear.live = live || !store.saysDown;
      if (store.saysDown) ear.onWake();
    }
  };
  report(false);
  if (!store.saysDown) store.ears.clear();
  if (store.reconnectMs < Infinity) setTimeout(() => report(true), store.reconnectMs);
}

async function gate(open: Promise<void> | undefined, { timeoutMs }: CallOptions): Promise<void> {
  if (open === undefined) return;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const say = (): void => reject(new UnavailableError(`simulated: no answer within ${timeoutMs} ms.`));
    timer = setTimeout(say, timeoutMs);
  });
  await Promise.race([open, late]).finally(() => clearTimeout(timer));
}

export function simulatedBackend(store: Store, line: Line, steps: Steps): Backend {
  async function take(options: CallOptions): Promise<void> {
    const turn = line.free > 0 ? undefined : new Promise<void>((resolve) => line.waiting.push(resolve));
    line.free -= 1;
    await gate(turn, options);
  }
  function give(): void {
    line.free += 1;
    line.waiting.shift()?.();
  }
  async function call<T>(options: CallOptions, write: boolean, work: () => T, lines = 1): Promise<T> {
    for (let i = 0; i < lines; i += 1) await take(options);
    try {
      if (line.cut) throw new UnavailableError("simulated: cut off.", { notDone: true });
      if (!store.isSetUp) {
        throw new ConfigurationError("simulated: run setup() first.", { code: "COORD_NOT_SET_UP" });
      }
      const { generation } = line;
      await gate(store.down, options);
      const answer = work();
      await new Promise(setImmediate);
      const swallowed = write && line.swallowing;
      if (swallowed) line.swallowing = false;
      if (swallowed || line.generation !== generation) {
        throw new UnavailableError("simulated: the connection ended before the answer.");
      }
      return answer;
    } finally {
      for (let i = 0; i < lines; i += 1) give();
    }
  }
  function decide<T>(name: Name, step: (record: LeaseRecord | null, nowUs: bigint) => Step<T>): T {
    const before = store.records.get(idOf(name)) ?? null;
    const { record, result } = step(before, storeNowUs(store));
    if (record === before) return result;
    if (record === null) store.records.delete(idOf(name));
    else store.records.set(idOf(name), record);
    if (record?.expiresAt === 0 && store.ears.has(idOf(name))) {
      const ears = (store.ears.get(idOf(name)) ?? []).filter(({ live }) => live);
      const first = record.sealed ? ears : store.wakes(ears);
      // Who was woken stands behind the others.
      store.ears.set(idOf(name), [...ears.filter((ear) => !first.includes(ear)), ...first]);
      for (const ear of first) queueMicrotask(ear.onWake);
    }
    return result;
  }
  const locked = (name: Name): Promise<void> | undefined => store.locks.get(idOf(name));
  return {
    info: { name: "simulated", minTtlMs: 20 },
    async acquire(request, options) {
      await gate(locked(request.name), options);
      const step = (): Awaited<ReturnType<Backend["acquire"]>> =>
        decide(request.name, (record, now) => steps.acquire(record, request, now));
      return await call(options, true, step, store.linesPerAcquire);
    },
    renew: (requests, options) =>
      call(options, true, () =>
        requests.map((request) =>
          locked(request.name) === undefined
            ? decide(request.name, (record, now) => steps.renew(record, request, now))
            : "unknown",
        ),
      ),
    async release(request, options) {
      await gate(locked(request.name), options);
      return await call(options, true, () =>
        decide(request.name, (record, now) => steps.release(record, request, now)),
      );
    },
    async overrule(request, options) {
      await gate(locked(request.name), options);
      return await call(options, true, () =>
        decide(request.name, (record, now) => steps.overrule(record, request, now)),
      );
    },
    inspect: (name, options) =>
      call(options, false, () => {
        const record = store.records.get(idOf(name));
        return record === undefined ? null : view(record, storeNowUs(store));
      }),
    list: ({ namespace, prefix, state, sealed, after, limit }, options) =>
      call(options, false, () =>
        [...store.records.values()]
          .filter((record) => record.namespace === namespace && record.key.startsWith(prefix))
          .filter((record) => after === undefined || compareKeys(record.key, after) > 0)
          .map((record) => ({ ...view(record, storeNowUs(store)), payload: undefined }))
          .filter((record) => state === undefined || record.state === state)
          .filter((record) => sealed === undefined || record.sealed === sealed)
          .toSorted((a, b) => compareKeys(a.key, b.key))
          .slice(0, limit),
      ),
    prune: ({ limit }, options) =>
      call(options, true, () => {
        const gone = [...store.records].filter(([, record]) => steps.isPurgeable(record, storeNowUs(store)));
        const deleted = gone.slice(0, limit);
        for (const [id] of deleted) store.records.delete(id);
        return deleted.length;
      }),
    setup: async () => void (store.isSetUp = true),
    diagnose: (options) => call(options, false, () => diagnosis(store)),
    close: async () => {},
    watch: (name, onWake, options) =>
      call(options, false, () => {
        const ear = { onWake, line, live: true };
        store.ears.set(idOf(name), [...(store.ears.get(idOf(name)) ?? []), ear]);
        return {
          get live() {
            return ear.live;
          },
          close: async () => {
            const left = (store.ears.get(idOf(name)) ?? []).filter((other) => other !== ear);
            if (left.length > 0) store.ears.set(idOf(name), left);
            else store.ears.delete(idOf(name));
          },
        };
      }),
  };
}

function diagnosis(store: Store): Diagnosis {
  const storeMs = Number(storeNowUs(store)) / 1000;
  const hostMs = storeMs - store.aheadMs;
  return {
    findings: [{ level: "ok", message: "simulated" }],
    clock: { storeMs, beforeMs: hostMs, afterMs: hostMs },
  };
}
