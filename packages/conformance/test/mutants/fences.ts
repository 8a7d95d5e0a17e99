import type { LeaseRecord } from "@coord/core";
import type { Broken } from "../simulated-harness.ts";
import { grants, law, overrules } from "./mutant.ts";
import type { Mutant } from "./mutant.ts";

/** Every new fence is made otherwise. */
function counts(next: (before: LeaseRecord | null, nowUs: bigint) => bigint): Broken {
  const acquire = grants((_, before, __, nowUs) => ({ fence: next(before, nowUs) })).steps?.acquire;
  const overrule = overrules((_, before, __, nowUs) => ({ fence: next(before, nowUs) })).steps?.overrule;
  return { steps: { ...(acquire && { acquire }), ...(overrule && { overrule }) } };
}

export const fences: readonly Mutant[] = [
  {
    breaks: "fences are the clock in seconds",
    kills: ["fences/rise-in-a-hurry", "fences/rise-over-everything"],
    broken: counts((_, nowUs) => (nowUs / 1_000_000n) * 1_000_000n),
  },
  {
    breaks: "fences are the clock alone",
    kills: ["fences/rise-over-clock-step-back", "fences/far-ahead"],
    broken: counts((_, nowUs) => nowUs),
  },
  {
    breaks: "fences are counted from 1",
    kills: ["fences/from-the-clock", "fences/rise-over-clean-up", "fences/rise-over-deletion"],
    broken: counts((before) => (before?.fence ?? 0n) + 1n),
  },
  {
    breaks: "fences start at 0",
    kills: ["fences/from-the-clock"],
    broken: counts((before) => (before === null ? 0n : before.fence + 1n)),
  },
  {
    breaks: "fences jump by a second where the clock is behind",
    kills: ["fences/far-ahead"],
    broken: counts((before, nowUs) =>
      before !== null && before.fence >= nowUs ? before.fence + 1_000_000n : nowUs,
    ),
  },
  {
    breaks: "fences are numbers",
    kills: ["fences/exact-above-2-to-53"],
    broken: counts((before, nowUs) => {
      const last = Number(before?.fence ?? 0n);
      return BigInt(Math.max(last + 1, Number(nowUs)));
    }),
  },
  {
    breaks: "an overrule does not raise the fence",
    kills: ["fences/rise-over-everything", "overruling/raises-the-fence"],
    broken: overrules(({ fence }, before) => ({ fence: before?.fence ?? fence })),
  },
  {
    breaks: "list rounds the fence",
    kills: ["fences/answers-agree"],
    broken: {
      backend: (backend) => ({
        list: async (request, options) =>
          (await backend.list(request, options)).map((record) => ({
            ...record,
            fence: (record.fence / 1000n) * 1000n,
          })),
      }),
    },
  },
  {
    breaks: "a restart forgets the records, and the clock comes back an hour behind",
    kills: ["fences/rise-over-restart", "sealing-and-payload/outlives-restart", "faults/restart-under-load"],
    broken: {
      restart(store) {
        store.records.clear();
        store.aheadMs -= 3_600_000;
      },
    },
  },
  {
    breaks: "purgeAt does not look at the instant of the fence",
    kills: ["fences/far-ahead-kept"],
    broken: {
      steps: {
        release(before, request, nowUs) {
          const { record, result } = law.release(before, request, nowUs);
          if (record === null || record === before || record.purgeAt === null) return { record, result };
          return { record: { ...record, purgeAt: Number(nowUs / 1000n) + (request.retainMs ?? 0) }, result };
        },
      },
    },
  },
];
