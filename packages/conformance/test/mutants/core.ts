import type { Mutant } from "./mutant.ts";
import { acquires, grants, law, renewsAs } from "./mutant.ts";

/** Broken backends, as those who use leases would notice them. */
export const core: readonly Mutant[] = [
  {
    breaks: "anybody is granted a held lease",
    kills: ["core/with-lease-excludes", "core/renewal-keeps", "core/holder-killed", "core/waiters-in-order"],
    broken: acquires((record, { grantId }) =>
      record.grantId === grantId ? record : { ...record, expiresAt: record.sealed ? record.expiresAt : 1 },
    ),
  },
  {
    breaks: "a lease is over in half its time",
    kills: ["core/deadline-before-takeover"],
    broken: acquires(
      (record) => record,
      ({ ttlMs }) => ({ ttlMs: ttlMs / 2 }),
    ),
  },
  {
    breaks: "an operator's break is not noticed by a renewal",
    kills: ["core/broken-lease-is-lost"],
    broken: renewsAs((_, { grantId, fence }) => ({ grantId, fence })),
  },
  {
    breaks: "a late release does nothing, and says that it did",
    kills: ["core/release-under-abort", "core/aborted-acquire", "core/late-win"],
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
    breaks: "a checkpoint ends with its grant",
    kills: ["core/checkpoint"],
    broken: grants((_, __, { payload }) => ({ payload })),
  },
  {
    breaks: "a hand-over works for whoever asks",
    kills: ["core/hand-over"],
    broken: acquires(
      (record) => record,
      ({ from }, record) =>
        from && record ? { from: { grantId: record.grantId, fence: record.fence } } : {},
    ),
  },
  {
    breaks: "a grant keeps the fence of the one before",
    kills: ["core/holder-stopped"],
    broken: grants(({ fence }, before) => ({ fence: before?.fence ?? fence })),
  },
];
