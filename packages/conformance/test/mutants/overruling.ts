import { idOf, storeNowUs } from "../simulated-store.ts";
import { law, overrules, overrulesAs } from "./mutant.ts";
import type { Mutant } from "./mutant.ts";

export const overruling: readonly Mutant[] = [
  {
    breaks: "an overrule leaves the old grant in the record",
    kills: ["overruling/raises-the-fence", "overruling/old-grant-lost", "overruling/repeated"],
    broken: overrules(({ grantId }, before) => ({ grantId: before?.grantId ?? grantId })),
  },
  {
    breaks: "an overrule clears the holder",
    kills: ["overruling/raises-the-fence"],
    broken: overrules(() => ({ holder: "" })),
  },
  {
    breaks: "an overrule ignores its payload",
    kills: ["overruling/payload-replaced"],
    broken: overrules(({ payload }, before) => ({ payload: before?.payload ?? payload })),
  },
  {
    breaks: "an overrule clears the payload",
    kills: ["overruling/raises-the-fence"],
    broken: overrules((_, __, { payload }) => ({ payload })),
  },
  {
    breaks: "an overrule frees a held record at once",
    kills: ["overruling/waits-for-the-old-expiry"],
    broken: overrules(() => ({ expiresAt: 0 })),
  },
  {
    breaks: "an overrule of a held record never ends",
    kills: ["overruling/waits-for-the-old-expiry"],
    broken: overrules(({ expiresAt }) => ({ expiresAt: expiresAt === 0 ? 0 : expiresAt + 600_000 })),
  },
  {
    breaks: "now is not looked at",
    kills: ["overruling/now-frees", "waking/by-overrule"],
    broken: overrulesAs(() => ({ now: false })),
  },
  {
    breaks: "a sealing overrule waits for the old expiry",
    kills: ["overruling/seals-at-once", "waking/by-overrule"],
    broken: overrules((after, before, { now }) => ({
      expiresAt: after.sealed && !now ? (before?.expiresAt ?? 0) : after.expiresAt,
    })),
  },
  {
    breaks: "an overrule leaves a lapsed expiry",
    kills: ["overruling/lapsed-is-freed"],
    broken: overrules((after, before, _, nowUs) => ({
      expiresAt: law.isHeld(before, nowUs) ? after.expiresAt : (before?.expiresAt ?? 0),
    })),
  },
  {
    breaks: "an overrule never unseals",
    kills: ["overruling/unseals", "sealing-and-payload/sealed-refuses"],
    broken: overrules(({ sealed }, before) => ({ sealed: sealed || before?.sealed === true })),
  },
  {
    breaks: "an overrule never seals",
    kills: ["overruling/unseals", "overruling/seals-at-once"],
    broken: overrules(() => ({ sealed: false })),
  },
  {
    breaks: "an overrule does not look at the fence",
    kills: ["overruling/moved-by-fence", "overruling/one-of-two"],
    broken: overrulesAs(({ fence }, record) => ({ fence: record?.fence ?? fence })),
  },
  {
    breaks: "moved carries no record",
    kills: ["overruling/moved-by-fence", "overruling/moved-by-release"],
    broken: {
      backend: (backend) => ({
        async overrule(request, options) {
          const result = await backend.overrule(request, options);
          return result.outcome === "moved" ? { outcome: "moved", record: null } : result;
        },
      }),
    },
  },
  {
    breaks: "a release since the record was read is not noticed",
    kills: ["overruling/moved-by-release"],
    broken: overrulesAs(() => ({ released: true })),
  },
  {
    breaks: "an overrule of no record is always moved",
    kills: ["overruling/no-record", "overruling/late-claim-refused"],
    broken: {
      steps: {
        overrule: (before, request, nowUs) =>
          before === null
            ? { record: null, result: { outcome: "moved", record: null } }
            : law.overrule(before, request, nowUs),
      },
    },
  },
  {
    breaks: "an overrule of no record does not look at the fence",
    kills: ["overruling/no-record"],
    broken: overrulesAs(({ fence }, record) => ({ fence: record === null ? 0n : fence })),
  },
  {
    breaks: "a repeated overrule is moved",
    kills: ["overruling/repeated", "faults/overrule-swallowed"],
    broken: {
      steps: {
        overrule(before, request, nowUs) {
          if (before?.grantId !== request.grantId) return law.overrule(before, request, nowUs);
          return { record: before, result: { outcome: "moved", record: law.view(before, nowUs) } };
        },
      },
    },
  },
  {
    breaks: "a repeated overrule is applied again",
    kills: ["overruling/repeated", "faults/overrule-swallowed"],
    broken: {
      steps: {
        overrule(before, request, nowUs) {
          const again = before?.grantId === request.grantId;
          const seen = again ? { ...before, grantId: "" } : before;
          const asked = again ? { ...request, fence: before.fence, released: true } : request;
          return law.overrule(seen, asked, nowUs);
        },
      },
    },
  },
  {
    breaks: "check and act of an overrule are two steps",
    kills: ["overruling/one-of-two"],
    broken: {
      backend: (_, store) => ({
        async overrule(request) {
          const before = store.records.get(idOf(request.name)) ?? null;
          const { record, result } = law.overrule(before, request, storeNowUs(store));
          await new Promise((resolve) => setImmediate(resolve));
          if (record !== null) store.records.set(idOf(request.name), record);
          return result;
        },
      }),
    },
  },
];
