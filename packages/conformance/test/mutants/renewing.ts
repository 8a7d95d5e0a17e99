import type { Broken } from "../simulated-harness.ts";
import { idOf } from "../simulated-store.ts";
import { law, renews, renewsAs } from "./mutant.ts";
import type { Mutant } from "./mutant.ts";

const farMs = 1e15;

/** A renewal that is answered without being decided by the law. */
const revives: Broken = renewsAs(
  () => ({}),
  (record, nowUs) =>
    law.isHeld(record, nowUs) ? record : { ...record, expiresAt: Number(nowUs / 1000n) + 1 },
);

export const renewing: readonly Mutant[] = [
  {
    breaks: "a renewal is answered and not written",
    kills: ["renewing/extends", "expiry/takeover-after-renewal", "sealing-and-payload/kept-while-held"],
    broken: renews((after, before) => before ?? after),
  },
  {
    breaks: "a renewal unseals",
    kills: ["renewing/extends"],
    broken: renews(() => ({ sealed: false })),
  },
  {
    breaks: "a renewal may shorten",
    kills: ["renewing/never-shortens"],
    broken: renews((_, __, { ttlMs }, nowUs) => ({ expiresAt: Number(nowUs / 1000n) + ttlMs })),
  },
  {
    breaks: "a renewal revives what is over",
    kills: ["renewing/lost-after-lapse", "renewing/lost-after-release"],
    broken: revives,
  },
  {
    breaks: "a renewal looks at neither grant nor fence",
    kills: ["renewing/lost-after-takeover", "renewing/grant-and-fence", "overruling/old-grant-lost"],
    broken: renewsAs((_, { grantId, fence }) => ({ grantId, fence })),
  },
  {
    breaks: "a renewal does not look at the fence",
    kills: ["renewing/grant-and-fence"],
    broken: renewsAs((_, { fence }) => ({ fence })),
  },
  {
    breaks: "a renewal does not look at the grant",
    kills: ["renewing/grant-and-fence", "renewing/lost-after-takeover"],
    broken: renewsAs((_, { grantId }) => ({ grantId })),
  },
  {
    breaks: "a renewal takes a higher fence for its own",
    kills: ["renewing/grant-and-fence"],
    broken: renewsAs(({ fence }, record) => ({ fence: fence > record.fence ? record.fence : fence })),
  },
  {
    breaks: "a renewal without a record makes one",
    kills: ["renewing/lost-without-record", "renewing/lost-after-deletion"],
    broken: {
      steps: {
        renew(before, request, nowUs) {
          if (before !== null) return law.renew(before, request, nowUs);
          const { name, grantId, fence, payload } = request;
          const made = { ...name, grantId, fence, payload, holder: "", expiresAt: farMs, sealed: false };
          return { record: { ...made, payloadSeq: 0, retainMs: null, purgeAt: null }, result: "renewed" };
        },
      },
    },
  },
  {
    breaks: "one lost lease ends the batch",
    kills: ["renewing/batch-of-1000", "renewing/batch-mixed"],
    broken: {
      backend: (backend) => ({
        async renew(requests, options) {
          const outcomes = await backend.renew(requests, options);
          return outcomes.includes("lost") ? outcomes.map(() => "lost") : outcomes;
        },
      }),
    },
  },
  {
    breaks: "only the first 500 of a batch are sent",
    kills: ["renewing/batch-of-1000"],
    broken: {
      backend: (backend) => ({
        async renew(requests, options) {
          const sent = await backend.renew(requests.slice(0, 500), options);
          return requests.map((_, i) => sent[i] ?? "renewed");
        },
      }),
    },
  },
  {
    breaks: "an empty batch is an error",
    kills: ["renewing/batch-empty"],
    broken: {
      backend: (backend) => ({
        renew: async (requests, options) => {
          if (requests.length === 0) throw new TypeError("VALUES lists must not be empty");
          return await backend.renew(requests, options);
        },
      }),
    },
  },
  {
    breaks: "a batch is answered with the lost ones last",
    kills: ["renewing/batch-mixed"],
    broken: {
      backend: (backend) => ({
        renew: async (requests, options) => (await backend.renew(requests, options)).toSorted().toReversed(),
      }),
    },
  },
  {
    breaks: "a lease named twice in a batch is sent once",
    kills: ["renewing/named-twice"],
    broken: {
      backend: (backend) => ({
        async renew(requests, options) {
          const byName = new Map(requests.map((request) => [idOf(request.name), request]));
          const outcomes = await backend.renew([...byName.values()], options);
          const keys = [...byName.keys()];
          return requests.map(({ name }) => outcomes[keys.indexOf(idOf(name))] ?? "unknown");
        },
      }),
    },
  },
  {
    breaks: "a locked record is lost",
    kills: ["renewing/locked-is-unknown"],
    broken: {
      backend: (backend) => ({
        renew: async (requests, options) =>
          (await backend.renew(requests, options)).map((outcome) =>
            outcome === "unknown" ? "lost" : outcome,
          ),
      }),
    },
  },
  {
    breaks: "a locked record is waited for",
    hangs: true,
    kills: ["renewing/locked-is-unknown"],
    broken: {
      backend: (backend, store) => ({
        async renew(requests, options) {
          for (const { name } of requests) await store.locks.get(idOf(name));
          return await backend.renew(requests, options);
        },
      }),
    },
  },
  {
    breaks: "a renewal without payload clears it",
    kills: ["renewing/payload-kept-or-replaced"],
    broken: renews((_, __, { payload }) => ({ payload })),
  },
  {
    breaks: "a save does not store its payloadSeq",
    kills: ["renewing/payload-kept-or-replaced", "renewing/payload-late", "reading/latest-write"],
    broken: renews((after, before) => ({ payloadSeq: before?.payloadSeq ?? after.payloadSeq })),
  },
  {
    breaks: "a save counts payloadSeq by itself",
    kills: ["renewing/payload-kept-or-replaced"],
    broken: renews((after, before) => ({
      payloadSeq: (before?.payloadSeq ?? 0) + (after.payload === before?.payload ? 0 : 1),
    })),
  },
  {
    breaks: "a late save replaces a newer one",
    kills: ["renewing/payload-late", "renewing/named-twice"],
    broken: renews(({ payload }, _, request) => ({ payload: request.payload ?? payload })),
  },
  {
    breaks: "a save with the stored payloadSeq is stored again",
    kills: ["renewing/payload-late"],
    broken: renews(({ payload, payloadSeq }, before, request) => ({
      payload: request.payloadSeq === before?.payloadSeq && request.payload ? request.payload : payload,
      payloadSeq,
    })),
  },
  {
    breaks: "a late save does not renew",
    kills: ["renewing/payload-late"],
    broken: {
      steps: {
        renew(before, request, nowUs) {
          const late = request.payloadSeq !== undefined && request.payloadSeq <= (before?.payloadSeq ?? 0);
          return late ? { record: before, result: "lost" } : law.renew(before, request, nowUs);
        },
      },
    },
  },
];
