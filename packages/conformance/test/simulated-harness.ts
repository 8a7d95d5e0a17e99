import { setTimeout as sleep } from "node:timers/promises";
import type { Backend } from "@coord/core";
import { transitions } from "@coord/core";
import type { Harness } from "../src/harness.ts";
import { spawnHolder } from "./holder.ts";
import { connect, idOf, killLine, simulatedBackend, simulatedStore } from "./simulated-store.ts";
import type { Line, Steps, Store } from "./simulated-store.ts";

type Role = "owner" | "user" | "misconfigured";

/** How a backend is broken; nothing = it keeps the contract. */
export interface Broken {
  readonly steps?: Partial<Steps>;
  /** What is replaced in each finished backend. */
  readonly backend?: (
    backend: Backend,
    store: Store,
    role: "owner" | "user" | "misconfigured",
  ) => Partial<Backend>;
  /** What is different in the store, from its beginning. */
  readonly store?: Partial<Store>;
  /** What is done to the store when the server restarts. */
  readonly restart?: (store: Store) => void;
}

let opens = 0;

/** A simulated store with all hooks, whose clock passes without waiting. */
export function simulatedHarness(broken?: Broken, name = "simulated"): Harness {
  const steps: Steps = { ...transitions, ...broken?.steps };
  const build = (store: Store, line: Line, role: Role = "owner"): Backend => {
    const simulated = simulatedBackend(store, line, steps);
    const backend = role === "misconfigured" ? { ...simulated, ...misconfigured(simulated) } : simulated;
    return { ...backend, ...broken?.backend?.(backend, store, role) };
  };
  return {
    name,
    // What is broken is not waited for; what is whole has time on a busy machine.
    timing: { ttlMs: 300, slackMs: 50, pollMs: 2, ...(broken && { callMs: 400 }) },
    declared: { wakeMs: broken ? 300 : 10_000 },
    seed: 20,
    async open() {
      const store = { ...simulatedStore(), ...broken?.store };
      const line = connect(store);
      const shift = (ms: number): void => void (store.aheadMs += ms);
      const shut = (): (() => Promise<void>) => {
        const { promise, resolve } = gateway();
        store.down = promise;
        return async () => {
          store.down = undefined;
          resolve();
        };
      };
      const backend = build(store, line);
      const namespace = `simulated_${(opens += 1)}`;
      return {
        backend,
        namespace,
        spawnHolder: (key, ttlMs) => spawnHolder(backend, namespace, key, ttlMs),
        second: async () => build(store, connect(store)),
        close: async () => {},
        passTime: shift,
        stepClock: shift,
        swallowNextReply: () => void (line.swallowing = true),
        killConnections: async () => killLine(store, line),
        async cut() {
          line.cut = true;
          killLine(store, line);
          return async () => void (line.cut = false);
        },
        pause: async () => shut(),
        async restart() {
          const start = shut();
          // Some calls are on their way when it goes down.
          await sleep(10);
          for (const each of store.lines) killLine(store, each);
          broken?.restart?.(store);
          await start();
        },
        writeFence(lease, fence) {
          const record = store.records.get(idOf(lease));
          if (record !== undefined) store.records.set(idOf(lease), { ...record, fence });
        },
        deleteRecord: (lease) => void store.records.delete(idOf(lease)),
        async lockRecord(lease) {
          const { promise, resolve } = gateway();
          store.locks.set(idOf(lease), promise);
          return async () => {
            store.locks.delete(idOf(lease));
            resolve();
          };
        },
        footprint: () => store.records.size + store.ears.size,
        unprivileged: async () => build(store, connect(store), "user"),
        async bare() {
          const fresh = { ...simulatedStore(), ...broken?.store, isSetUp: false };
          return build(fresh, connect(fresh));
        },
        async misconfigured() {
          const backend = build(store, connect(store), "misconfigured");
          return [{ title: "evicts records", backend, close: async () => {} }];
        },
        singleConnection: async () => build(store, connect(store, 1)),
      };
    },
  };
}

function misconfigured(backend: Backend): Partial<Backend> {
  return {
    async diagnose(options) {
      const { clock } = await backend.diagnose(options);
      const remedy = "Set the policy to noeviction.";
      return { clock, findings: [{ level: "error", message: "Records may be evicted.", remedy }] };
    },
  };
}

function gateway(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((open) => (resolve = open));
  return { promise, resolve };
}
