import type { Backend } from "../src/backend.ts";
import type { Host } from "../src/clock.ts";
import { createMemoryStore, memoryBackend } from "../src/memory.ts";

interface Timer {
  readonly at: number;
  readonly run: () => void;
  readonly keepAlive: boolean;
}

const epochMs = 1_700_000_000_000;

/** Virtual time: nothing passes but by `advance`, and everything that is due runs in order. */
export class FakeHost implements Host {
  mono = 0;
  wallOffset = epochMs;
  readonly timers = new Set<Timer>();
  #ids = 0;

  monotonicMs = (): number => this.mono;
  wallMs = (): number => this.mono + this.wallOffset;
  random = (): number => 0.5;
  randomId = (): string => `grant-${(this.#ids += 1)}`;

  setTimer(run: () => void, delayMs: number, keepAlive: boolean): () => void {
    const timer = { at: this.mono + Math.max(0, delayMs), run, keepAlive };
    this.timers.add(timer);
    return () => this.timers.delete(timer);
  }

  /** Lets promises settle without any virtual time passing. */
  settle(): Promise<void> {
    return new Promise((resolve) => void setImmediate(resolve));
  }

  async advance(ms: number): Promise<void> {
    await this.settle();
    const until = this.mono + ms;
    for (;;) {
      const due = [...this.timers].filter(({ at }) => at <= until).toSorted((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.timers.delete(due);
      this.mono = Math.max(this.mono, due.at);
      due.run();
      await this.settle();
    }
    this.mono = Math.max(this.mono, until);
  }

  /** The machine sleeps: the wall clock runs on, the monotonic one stands still. */
  suspend(ms: number): void {
    this.wallOffset += ms;
  }
}

type Operation =
  | "acquire"
  | "renew"
  | "release"
  | "inspect"
  | "overrule"
  | "list"
  | "prune"
  | "diagnose"
  | "watch";

/** A memory backend on virtual time whose calls can be counted, hung, failed or delayed. */
export function fakeStore(host: FakeHost, options: { push?: boolean; skewMs?: number } = {}) {
  const store = createMemoryStore();
  let skewMs = options.skewMs ?? 0;
  const nowUs = (): bigint => BigInt(Math.round((host.mono + epochMs + skewMs) * 1000));
  const inner = memoryBackend({ store, nowUs });
  const calls: Operation[] = [];
  const rules: { operation: Operation; act: Act; times: number }[] = [];
  let depth = 0;

  function on<T>(operation: Operation, run: () => Promise<T>): Promise<T> {
    calls.push(operation);
    const rule = rules.find((each) => each.operation === operation && each.times > 0);
    if (rule === undefined || depth > 0) return run();
    rule.times -= 1;
    return rule.act(run) as Promise<T>;
  }
  const backend: Backend = {
    ...inner,
    acquire: (request, o) => on("acquire", () => inner.acquire(request, o)),
    renew: (requests, o) => on("renew", () => inner.renew(requests, o)),
    release: (request, o) => on("release", () => inner.release(request, o)),
    inspect: (name, o) => on("inspect", () => inner.inspect(name, o)),
    overrule: (request, o) => on("overrule", () => inner.overrule(request, o)),
    list: (request, o) => on("list", () => inner.list(request, o)),
    prune: (request, o) => on("prune", () => inner.prune(request, o)),
    diagnose: async (o) => {
      const { findings } = await on("diagnose", () => inner.diagnose(o));
      const storeMs = Number(nowUs() / 1000n);
      return { findings, clock: { storeMs, beforeMs: host.wallMs(), afterMs: host.wallMs() } };
    },
  };
  if (options.push === false) delete backend.watch;
  else {
    const watch = inner.watch?.bind(inner);
    if (watch) backend.watch = (name, onWake, o) => on("watch", () => watch(name, onWake, o));
  }
  return {
    backend,
    store,
    calls,
    inner,
    setSkew: (ms: number) => void (skewMs = ms),
    /** The next `times` calls of an operation do this instead. */
    next(operation: Operation, act: Act, times = 1): void {
      rules.push({ operation, act, times });
    },
    count: (operation: Operation) => calls.filter((each) => each === operation).length,
  };
}

type Act = (run: () => Promise<unknown>) => Promise<unknown>;

/** The request never arrives, and nobody answers. */
export const hang: Act = () => new Promise(() => {});
/** The step happens, but its answer is lost. */
export const loseReply: Act = async (run) => {
  await run();
  return new Promise(() => {});
};
/** The request does not arrive, which the caller learns at once, but not that it did not. */
export const fail =
  (error: unknown): Act =>
  () =>
    Promise.reject(error);
/** The step happens, and an error comes back. */
export const failAfter =
  (error: unknown): Act =>
  async (run) => {
    await run();
    throw error;
  };
