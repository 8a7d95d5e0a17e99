import type { Broken } from "../simulated-harness.ts";
import { law, releases, releasesAs } from "./mutant.ts";
import type { Mutant } from "./mutant.ts";

/** A repeated release is answered otherwise. */
const repeats = (answer: "as if first" | "lost"): Broken => ({
  steps: {
    release(before, request, nowUs) {
      const { record, result } = law.release(before, request, nowUs);
      if (result.outcome !== "released" || result.record === undefined) return { record, result };
      return { record, result: answer === "lost" ? { outcome: "lost" } : { outcome: "released" } };
    },
  },
});

export const releasing: readonly Mutant[] = [
  {
    breaks: "a release leaves the expiry as it is",
    kills: ["releasing/frees-at-once", "releasing/late-untouched"],
    broken: releases((after, before) => ({ expiresAt: before?.expiresAt ?? after.expiresAt })),
  },
  {
    breaks: "a release sets the expiry to now",
    kills: ["releasing/frees-at-once", "reading/states-told-apart"],
    broken: releases((_, __, ___, nowUs) => ({ expiresAt: Number(nowUs / 1000n) })),
  },
  {
    breaks: "a release clears the grant id",
    kills: ["releasing/frees-at-once", "granting/spent-after-release"],
    broken: releases(() => ({ grantId: "" })),
  },
  {
    breaks: "a release deletes the record",
    kills: ["releasing/frees-at-once", "releasing/stores-as-asked", "releasing/footprint"],
    broken: {
      steps: {
        release(before, request, nowUs) {
          const { record, result } = law.release(before, request, nowUs);
          return { record: record === before ? record : null, result };
        },
      },
    },
  },
  {
    breaks: "a release keeps the retention of the grant",
    kills: ["releasing/stores-as-asked", "sealing-and-payload/kept-for-ever"],
    broken: releases((_, before) => ({
      retainMs: before?.retainMs ?? null,
      purgeAt: before?.purgeAt ?? null,
    })),
  },
  {
    breaks: "a release counts as a save",
    kills: ["releasing/stores-as-asked"],
    broken: releases(({ payloadSeq }) => ({ payloadSeq: payloadSeq + 1 })),
  },
  {
    breaks: "a release clears the payload",
    kills: ["releasing/frees-at-once", "sealing-and-payload/payload-outlives"],
    broken: releases((_, __, { payload }) => ({ payload })),
  },
  {
    breaks: "a release never unseals",
    kills: ["releasing/unseals"],
    broken: releases(({ sealed }, before) => ({ sealed: sealed || before?.sealed === true })),
  },
  {
    breaks: "a second release is written over the first",
    kills: ["releasing/first-stands"],
    broken: {
      steps: {
        release(before, request, nowUs) {
          const again = before?.grantId === request.grantId && before.expiresAt === 0;
          const { record, result } = law.release(
            again ? { ...before, expiresAt: 1 } : before,
            request,
            nowUs,
          );
          return {
            record,
            result: again ? { outcome: "released", record: law.view(before, nowUs) } : result,
          };
        },
      },
    },
  },
  {
    breaks: "a repeated release does not show what stands",
    kills: ["releasing/first-stands", "faults/release-swallowed"],
    broken: repeats("as if first"),
  },
  {
    breaks: "a repeated release is lost",
    kills: ["releasing/first-stands", "faults/release-swallowed"],
    broken: repeats("lost"),
  },
  {
    breaks: "a release does not look at the grant",
    kills: ["releasing/grant-and-fence"],
    broken: releasesAs(({ grantId }, record) => ({ grantId: record?.grantId ?? grantId })),
  },
  {
    breaks: "a release looks at neither grant nor fence",
    kills: ["releasing/stale-holder", "releasing/fence-null"],
    broken: releasesAs(({ grantId }, record) => ({ grantId: record?.grantId ?? grantId, fence: null })),
  },
  {
    breaks: "a release does not look at the fence",
    kills: ["releasing/grant-and-fence"],
    broken: releasesAs(() => ({ fence: null })),
  },
  {
    breaks: "a late release is lost",
    kills: ["releasing/late-untouched"],
    broken: releasesAs(({ grantId }, record, nowUs) => {
      const late = record !== null && law.view(record, nowUs).state === "lapsed";
      return { grantId: late ? "" : grantId };
    }),
  },
  {
    breaks: "fence null matches no grant",
    kills: ["releasing/fence-null"],
    broken: releasesAs(({ fence }) => ({ fence: fence ?? 0n })),
  },
  {
    breaks: "a release without a record makes one",
    kills: ["releasing/grant-and-fence"],
    broken: {
      steps: {
        release(before, request, nowUs) {
          if (before !== null) return law.release(before, request, nowUs);
          const { record } = law.overrule<string>(null, { ...request, fence: 0n, released: true }, nowUs);
          return { record, result: { outcome: "lost" } };
        },
      },
    },
  },
  {
    breaks: "each acquire leaves a marker behind",
    kills: ["releasing/footprint", "releasing/footprint-cleaned"],
    broken: {
      backend: (backend, store) => ({
        acquire: async (request, options) => {
          store.ears.set(`marker ${request.name.key}`, []);
          return await backend.acquire(request, options);
        },
      }),
    },
  },
];
