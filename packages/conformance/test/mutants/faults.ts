import type { Backend } from "@coord/core";
import { isCoordError } from "@coord/core";
import { freshGrantId } from "../../src/client.ts";
import type { Broken } from "../simulated-harness.ts";
import { storeNowUs } from "../simulated-store.ts";
import type { Mutant } from "./mutant.ts";

const unknown = (error: unknown): void => {
  if (!isCoordError(error, "COORD_UNAVAILABLE")) throw error;
};

/** Whatever is unknown is answered by a guess. */
const guesses = (guess: Partial<Backend>): Broken => ({
  backend: (backend) => ({
    acquire: (request, options) =>
      backend.acquire(request, options).catch(async (error: unknown) => {
        unknown(error);
        if (guess.acquire === undefined) throw error;
        return await guess.acquire(request, options);
      }),
    inspect: (name, options) =>
      backend.inspect(name, options).catch(async (error: unknown) => {
        unknown(error);
        if (guess.inspect === undefined) throw error;
        return await guess.inspect(name, options);
      }),
  }),
});

const outOfReach = ["faults/cut-off", "faults/paused"];
const never = new Promise<never>(() => {});

export const faults: readonly Mutant[] = [
  {
    breaks: "an acquire whose reply is lost is sent again under another grant id",
    kills: ["faults/acquire-swallowed", "faults/hand-over-swallowed"],
    broken: {
      backend: (backend) => ({
        acquire: (request, options) =>
          backend.acquire(request, options).catch(async (error: unknown) => {
            unknown(error);
            return await backend.acquire({ ...request, grantId: freshGrantId() }, options);
          }),
      }),
    },
  },
  {
    breaks: "a renewal whose reply is lost is lost",
    kills: ["faults/renew-swallowed"],
    broken: {
      backend: (backend) => ({
        renew: (requests, options) =>
          backend.renew(requests, options).catch((error: unknown) => {
            unknown(error);
            return requests.map(() => "lost" as const);
          }),
      }),
    },
  },
  {
    breaks: "a store out of reach has no records",
    kills: outOfReach,
    broken: guesses({ inspect: async () => null }),
  },
  {
    breaks: "a store out of reach holds every name",
    kills: outOfReach,
    broken: guesses({
      acquire: async () => ({ outcome: "refused", reason: "held", record: null, remainingMs: 0 }),
    }),
  },
  {
    breaks: "a call that gets no answer never ends",
    hangs: true,
    kills: ["faults/paused"],
    broken: guesses({ inspect: async () => await never }),
  },
  {
    breaks: "a lost connection is a plain error",
    kills: ["faults/cut-off", "faults/paused", "faults/acquire-swallowed", "faults/restart-under-load"],
    broken: {
      backend: (backend) => ({
        acquire: (request, options) =>
          backend.acquire(request, options).catch((error: unknown) => {
            throw new Error("ECONNRESET", { cause: error });
          }),
      }),
    },
  },
  {
    breaks: "a killed connection is never replaced",
    kills: ["faults/killed-session"],
    broken: {
      backend: (backend, store) => ({
        async acquire(request, options) {
          const dead = [...store.lines].some(({ generation }) => generation > 0);
          if (dead) throw new Error("Client has encountered a connection error and is not queryable");
          return await backend.acquire(request, options);
        },
      }),
    },
  },
  {
    breaks: "an acquire needs two connections",
    kills: ["faults/single-connection"],
    broken: { store: { linesPerAcquire: 2 } },
  },
];

export const setup: readonly Mutant[] = [
  {
    breaks: "setup begins with an empty table",
    kills: ["setup/idempotent"],
    broken: {
      backend: (backend, store) => ({
        async setup(options) {
          await backend.setup(options);
          store.records.clear();
        },
      }),
    },
  },
  {
    breaks: "two setups at once collide",
    kills: ["setup/twenty-at-once", "setup/idempotent"],
    broken: {
      backend: (backend) => {
        let busy = false;
        return {
          async setup(options) {
            if (busy) throw new Error("tuple concurrently updated");
            busy = true;
            await new Promise((resolve) => setImmediate(resolve));
            await backend.setup(options);
            busy = false;
          },
        };
      },
    },
  },
  {
    breaks: "a store that was never set up is a plain error",
    kills: ["setup/not-set-up"],
    broken: {
      backend: (backend) => ({
        acquire: (request, options) =>
          backend.acquire(request, options).catch((error: unknown) => {
            throw new Error('relation "lease" does not exist', { cause: error });
          }),
      }),
    },
  },
  {
    breaks: "clean-up needs the owner's privileges",
    kills: ["setup/least-privilege"],
    broken: {
      backend: (_, __, role) =>
        role === "user" ? { prune: () => Promise.reject(new Error("permission denied")) } : {},
    },
  },
  {
    breaks: "a store that evicts records is found in order",
    kills: ["setup/misconfigured"],
    broken: {
      backend: (backend, _, role) =>
        role === "misconfigured"
          ? { diagnose: async (options) => ({ ...(await backend.diagnose(options)), findings: [] }) }
          : {},
    },
  },
  {
    breaks: "a warning comes without a remedy",
    kills: ["setup/diagnosis"],
    broken: {
      backend: (backend) => ({
        diagnose: async (options) => ({
          ...(await backend.diagnose(options)),
          findings: [{ level: "warning", message: "something is odd" }],
        }),
      }),
    },
  },
  {
    breaks: "the store's clock is read once",
    kills: ["setup/diagnosis"],
    broken: {
      backend: (backend, store) => {
        const storeMs = Number(storeNowUs(store) / 1000n);
        return {
          async diagnose(options) {
            const { findings, clock } = await backend.diagnose(options);
            return { findings, clock: { ...clock, storeMs } };
          },
        };
      },
    },
  },
  {
    breaks: "payloads are limited to 1,000 bytes",
    kills: ["setup/info"],
    broken: { backend: ({ info }) => ({ info: { ...info, maxPayloadBytes: 1000 } }) },
  },
  {
    breaks: "close closes every backend of the process",
    kills: ["setup/close-closes-its-own"],
    broken: {
      backend: (_, store) => ({
        async close() {
          for (const line of store.lines) line.cut = true;
        },
      }),
    },
  },
];
