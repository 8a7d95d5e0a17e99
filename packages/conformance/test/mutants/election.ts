import type { Backend } from "@coord/core";
import type { Broken } from "../simulated-harness.ts";
import { acquires, grants, law, renews } from "./mutant.ts";
import type { Mutant } from "./mutant.ts";

const cases = (...ids: readonly string[]): readonly string[] => ids.map((id) => `election/${id}`);

const calls = (change: (backend: Backend) => Partial<Backend>): Broken => ({ backend: change });

/** Broken backends, as candidates would notice them. */
export const election: readonly Mutant[] = [
  {
    breaks: "a held election is won by whoever comes",
    kills: cases("one-leads", "resigning-releases-last", "stuck-callback", "returned-callback"),
    broken: acquires((record, { grantId }) =>
      record.grantId === grantId ? record : { ...record, expiresAt: 1 },
    ),
  },
  {
    breaks: "a leader has half the time that it was promised",
    kills: cases("cut-off"),
    broken: acquires(
      (record) => record,
      ({ ttlMs }) => ({ ttlMs: ttlMs / 2 }),
    ),
  },
  {
    breaks: "a renewal says that it was done, and extends nothing",
    kills: cases("returned-callback", "resigning-releases-last"),
    broken: renews((_, before) => ({ expiresAt: before?.expiresAt ?? 0 })),
  },
  {
    breaks: "a resignation says that it was done, and frees nothing",
    kills: cases("resigning-releases-last", "throwing-callback", "stopped"),
    broken: {
      steps: {
        release: (before, request, nowUs) => ({
          record: before,
          result: law.release(before, request, nowUs).result,
        }),
      },
    },
  },
  {
    breaks: "a term has the fence of the one before",
    kills: cases("one-leads", "throwing-callback", "terms-rise"),
    broken: grants(({ fence }, before) => ({ fence: before?.fence ?? fence })),
  },
  {
    breaks: "terms are counted by the clock alone",
    kills: cases("terms-rise"),
    broken: grants((_, __, ___, nowUs) => ({ fence: nowUs })),
  },
  {
    breaks: "what a leader says of itself is not read",
    kills: cases("candidates"),
    broken: calls((backend) => ({
      async inspect(name, options) {
        const record = await backend.inspect(name, options);
        return record && name.key.startsWith("e") ? { ...record, payload: undefined } : record;
      },
    })),
  },
  {
    breaks: "a leader is shown for ever",
    kills: cases("observe", "stopped"),
    broken: calls((backend) => {
      const shown = new Map<string, Awaited<ReturnType<Backend["inspect"]>>>();
      return {
        async inspect(name, options) {
          const record = shown.get(name.key) ?? (await backend.inspect(name, options));
          shown.set(name.key, record);
          return record;
        },
      };
    }),
  },
  {
    breaks: "candidates whose presence is over are listed as held",
    kills: cases("cut-off"),
    broken: {
      backend: (backend) => ({
        list: async (request, options) =>
          (await backend.list({ ...request, state: undefined }, options)).map((record) => ({
            ...record,
            state: "held",
          })),
        async inspect(name, options) {
          const record = await backend.inspect(name, options);
          return record && name.key.startsWith("c") ? { ...record, state: "held" } : record;
        },
      }),
    },
  },
  {
    breaks: "a prefix ends where its last part begins",
    kills: cases("apart"),
    broken: calls((backend) => ({
      list: async (request, options) =>
        await backend.list({ ...request, prefix: request.prefix.slice(0, -1) }, options),
    })),
  },
  {
    breaks: "elections are told apart without case",
    kills: cases("apart"),
    broken: calls((backend) => ({
      acquire: (request, options) =>
        backend.acquire(
          { ...request, name: { ...request.name, key: request.name.key.toLowerCase() } },
          options,
        ),
    })),
  },
  {
    breaks: "a repeat of the request that won is refused as held",
    kills: cases("reply-lost"),
    broken: {
      steps: {
        acquire(before, request, nowUs) {
          const again = before !== null && before.grantId === request.grantId && law.isHeld(before, nowUs);
          return law.acquire(
            before,
            again ? { ...request, grantId: `${request.grantId}-2` } : request,
            nowUs,
          );
        },
      },
    },
  },
];
