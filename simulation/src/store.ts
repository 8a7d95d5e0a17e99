import type {
  AcquireRequest,
  AcquireResult,
  Backend,
  LeaseRecord,
  Name,
  OverruleRequest,
  OverruleResult,
  ReleaseRequest,
  ReleaseResult,
  RenewOutcome,
  RenewRequest,
  Subscription,
} from "@coord/core";
import type { Core } from "./core.ts";
import type { World } from "./world.ts";

/** One atomic step as an onlooker inside the store sees it. */
interface StepBase {
  readonly id: string;
  readonly before: LeaseRecord | null;
  readonly after: LeaseRecord | null;
  /** The store's clock, in milliseconds since 1970, not rounded. */
  readonly nowMs: number;
  /** Who asked, and when the request was sent, in true time. */
  readonly sender: string;
  readonly sentAt: number;
}
export interface AcquireStep extends StepBase {
  readonly op: "acquire";
  readonly request: AcquireRequest;
  readonly result: AcquireResult;
}
export interface RenewStep extends StepBase {
  readonly op: "renew";
  readonly request: RenewRequest;
  readonly result: RenewOutcome;
}
export interface ReleaseStep extends StepBase {
  readonly op: "release";
  readonly request: ReleaseRequest;
  readonly result: ReleaseResult;
}
export interface OverruleStep extends StepBase {
  readonly op: "overrule";
  readonly request: OverruleRequest;
  readonly result: OverruleResult;
}
export interface PruneStep extends StepBase {
  readonly op: "prune";
}
export type Step = AcquireStep | RenewStep | ReleaseStep | OverruleStep | PruneStep;

export interface Sender {
  readonly name: string;
  readonly sentAt: number;
}

/** The contract's release as a part of a caller's transaction. */
export interface Transaction {
  /** Whether it may still commit. */
  readonly open: boolean;
  release(request: ReleaseRequest): Promise<ReleaseResult>;
  /** False if it was rolled back before. */
  commit(): Promise<boolean>;
  rollback(): void;
}

/** The memory backend with a clock of its own, row locks, restarts and an onlooker. */
export interface Store {
  readonly backend: Backend;
  /** The store's clock in milliseconds since 1970. */
  nowMs(): number;
  stepClock(byMs: number): void;
  /** When its clock was last set. */
  steppedAt: number;
  /** When a fault last touched the store, in true time. */
  troubledAt: number;
  /** When its clock was last set forward. */
  setForwardAt: number;
  peek(id: string): LeaseRecord | undefined;
  readonly records: ReadonlyMap<string, LeaseRecord>;
  readonly watchers: number;
  acquire(request: AcquireRequest, sender: Sender): Promise<AcquireResult>;
  renew(request: RenewRequest, sender: Sender): Promise<RenewOutcome>;
  release(request: ReleaseRequest, sender: Sender): Promise<ReleaseResult>;
  overrule(request: OverruleRequest, sender: Sender): Promise<OverruleResult>;
  prune(limit: number, sender: Sender): Promise<number>;
  watch(name: Name, onWake: () => void): Promise<Subscription>;
  /** A transaction of somebody's own, which holds the record from its release to its end. */
  begin(sender: Sender): Transaction;
  /** A transaction holds the record: renewals are unknown at once, all else waits. */
  lock(id: string, forMs: number): void;
  /** Until then nobody gets through to it. */
  downUntil: number;
  onStep(listener: (step: Step) => void): void;
}

export const idOf = (name: Name): string => `${name.namespace}\u0000${name.key}`;

const noOptions = { signal: new AbortController().signal, timeoutMs: 1000 };

export function createStore(world: World, core: Core, rate: number): Store {
  const memory = core.createMemoryStore();
  const startMs = 1_700_000_000_000;
  let offsetMs = 0;
  const nowMs = (): number => startMs + world.now() * rate + offsetMs;
  const nowUs = (): bigint => BigInt(Math.floor(nowMs() * 1000));
  const backend = core.memoryBackend({ store: memory, nowUs });
  const listeners: ((step: Step) => void)[] = [];
  const lockedUntil = new Map<string, number>();
  /** Who waits for the end of the transaction that holds a record. */
  const inTransaction = new Map<string, (() => void)[]>();

  const peek = (id: string): LeaseRecord | undefined => memory.records.get(id);

  /** Makes the step and shows it to the onlookers before anything else happens. */
  function observed<Result>(
    name: Name,
    sender: Sender,
    take: () => Promise<Result>,
    show: (base: StepBase, result: Result) => Step,
  ): Promise<Result> {
    const id = idOf(name);
    const before = peek(id) ?? null;
    const taken = take();
    const after = peek(id) ?? null;
    const base = { id, before, after, nowMs: nowMs(), sender: sender.name, sentAt: sender.sentAt };
    return taken.then((result) => {
      const step = show(base, result);
      for (const listener of listeners) listener(step);
      return result;
    });
  }

  const isLocked = (id: string): boolean => inTransaction.has(id) || (lockedUntil.get(id) ?? 0) > world.now();

  /** Waits as long as a transaction holds the record. */
  function unlocked<Result>(name: Name, run: () => Promise<Result>): Promise<Result> {
    const ended = inTransaction.get(idOf(name));
    if (ended !== undefined) {
      return new Promise((resolve, reject) => {
        ended.push(() => void unlocked(name, run).then(resolve, reject));
      });
    }
    const until = lockedUntil.get(idOf(name)) ?? 0;
    if (until <= world.now()) return run();
    return new Promise((resolve, reject) => {
      world.at(until, () => void unlocked(name, run).then(resolve, reject));
    });
  }

  const store: Store = {
    backend,
    nowMs,
    steppedAt: -Infinity,
    stepClock(byMs) {
      offsetMs += byMs;
      store.steppedAt = world.now();
    },
    troubledAt: -Infinity,
    setForwardAt: -Infinity,
    peek,
    records: memory.records,
    get watchers() {
      let count = 0;
      for (const queue of memory.waiting.values()) count += queue.size;
      return count;
    },
    acquire: (request, sender) =>
      unlocked(request.name, () =>
        observed(
          request.name,
          sender,
          () => backend.acquire(request, noOptions),
          (base, result) => ({ ...base, op: "acquire", request, result }),
        ),
      ),
    async renew(request, sender) {
      if (isLocked(idOf(request.name))) return "unknown";
      return observed(
        request.name,
        sender,
        async () => (await backend.renew([request], noOptions))[0] ?? "unknown",
        (base, result) => ({ ...base, op: "renew", request, result }),
      );
    },
    release: (request, sender) =>
      unlocked(request.name, () =>
        observed(
          request.name,
          sender,
          () => backend.release(request, noOptions),
          (base, result) => ({ ...base, op: "release", request, result }),
        ),
      ),
    overrule: (request, sender) =>
      unlocked(request.name, () =>
        observed(
          request.name,
          sender,
          () => backend.overrule(request, noOptions),
          (base, result) => ({ ...base, op: "overrule", request, result }),
        ),
      ),
    async prune(limit, sender) {
      const before = new Map(memory.records);
      const atMs = nowMs();
      const count = await backend.prune({ limit }, noOptions);
      for (const [id, record] of before) {
        if (memory.records.has(id)) continue;
        const { name, sentAt } = sender;
        const step: PruneStep = {
          op: "prune",
          id,
          before: record,
          after: null,
          nowMs: atMs,
          sender: name,
          sentAt,
        };
        for (const listener of listeners) listener(step);
      }
      return count;
    },
    watch(name, onWake) {
      const { watch } = backend;
      if (watch === undefined) throw new Error("The memory backend offers no watch any more.");
      return watch(name, onWake, noOptions);
    },
    begin(sender) {
      let pending: ReleaseRequest | undefined;
      let open = true;
      const end = (): void => {
        open = false;
        store.troubledAt = Math.max(store.troubledAt, world.now());
        if (pending === undefined) return;
        const id = idOf(pending.name);
        const waiting = inTransaction.get(id) ?? [];
        inTransaction.delete(id);
        for (const goOn of waiting) goOn();
      };
      return {
        get open() {
          return open;
        },
        release: (request) =>
          unlocked(request.name, async () => {
            const id = idOf(request.name);
            const { result } = core.transitions.release(peek(id) ?? null, request, nowUs());
            if (!open || result.outcome === "lost" || result.record !== undefined) return result;
            pending = request;
            inTransaction.set(id, []);
            store.troubledAt = Math.max(store.troubledAt, world.now());
            return result;
          }),
        async commit() {
          if (!open) return false;
          const request = pending;
          const done =
            request &&
            observed(
              request.name,
              sender,
              () => backend.release(request, noOptions),
              (base, result) => ({ ...base, op: "release", request, result }),
            );
          // What waits for the lock comes after the commit.
          await done;
          end();
          return true;
        },
        rollback() {
          if (open) end();
        },
      };
    },
    lock(id, forMs) {
      lockedUntil.set(id, Math.max(lockedUntil.get(id) ?? 0, world.now() + forMs));
      store.troubledAt = Math.max(store.troubledAt, world.now() + forMs);
    },
    downUntil: 0,
    onStep: (listener) => void listeners.push(listener),
  };
  return store;
}
