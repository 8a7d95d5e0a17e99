import type { Backend, LeaseRecord, Name } from "@coord/core";
import type { Broken } from "../simulated-harness.ts";
import { idOf, storeNowUs } from "../simulated-store.ts";
import { acquires, grants, grantsAgain, law } from "./mutant.ts";
import type { Mutant } from "./mutant.ts";

const tick = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve));

/** Reads, and writes a moment later what it decided then. */
const checksThenActs: Broken = {
  backend: (_, store) => ({
    async acquire(request) {
      const { record, result } = law.acquire(
        store.records.get(idOf(request.name)) ?? null,
        request,
        storeNowUs(store),
      );
      await tick();
      if (record !== null) store.records.set(idOf(request.name), record);
      return result;
    },
  }),
};

/** Stores and finds every name under another. */
const renamed = (change: (name: Name) => Partial<Name>): Broken => ({
  backend: (backend) => {
    const fold = <T extends { readonly name: Name }>(request: T): T => ({
      ...request,
      name: { ...request.name, ...change(request.name) },
    });
    return {
      acquire: (request, options) => backend.acquire(fold(request), options),
      renew: (requests, options) => backend.renew(requests.map(fold), options),
      release: (request, options) => backend.release(fold(request), options),
      overrule: (request, options) => backend.overrule(fold(request), options),
      inspect: async (name, options) => {
        const record = await backend.inspect(fold({ name }).name, options);
        return record && { ...record, ...name };
      },
    };
  },
});

const distinct = ["granting/names-distinct"];

/** What a refusal answers instead. */
const refuses = (
  change: (record: LeaseRecord, payload: string | undefined) => Partial<LeaseRecord> | null,
): Broken => ({
  backend: (backend, store): Partial<Backend> => ({
    async acquire(request, options) {
      const result = await backend.acquire(request, options);
      if (result.outcome === "granted" || result.record === null) return result;
      const changed = change(result.record, store.records.get(idOf(request.name))?.payload);
      return { ...result, record: changed && { ...result.record, ...changed } };
    },
  }),
});

const lapsedSeen = (record: LeaseRecord): LeaseRecord => ({ ...record, expiresAt: 1 });

export const granting: readonly Mutant[] = [
  {
    breaks: "check and act are two steps",
    kills: [
      "granting/one-winner-new",
      "granting/one-winner-released",
      "granting/one-winner-lapsed",
      "fences/rise-in-a-race",
    ],
    broken: checksThenActs,
  },
  {
    breaks: "a held name is granted to another",
    kills: ["granting/one-winner-new", "expiry/takeover-not-before"],
    broken: acquires((record, { grantId }) => (record.grantId === grantId ? record : lapsedSeen(record))),
  },
  {
    breaks: "the holder is cut to 64 characters",
    kills: ["granting/stored-as-asked"],
    broken: grants(({ holder }) => ({ holder: holder.slice(0, 64) })),
  },
  {
    breaks: "a new grant is never sealed",
    kills: ["granting/stored-as-asked"],
    broken: grants(() => ({ sealed: false })),
  },
  {
    breaks: "a new grant drops the stored payload",
    kills: ["granting/payload-kept-or-replaced", "sealing-and-payload/payload-outlives"],
    broken: grants((_, __, { payload }) => ({ payload })),
  },
  {
    breaks: "a new grant keeps the old payload over its own",
    kills: ["granting/payload-kept-or-replaced"],
    broken: grants(({ payload }, before) => ({ payload: before?.payload ?? payload })),
  },
  {
    breaks: "payloadSeq goes on over grants",
    kills: ["granting/payload-kept-or-replaced"],
    broken: grants((_, before) => ({ payloadSeq: before?.payloadSeq ?? 0 })),
  },
  {
    breaks: "every refusal carries the payload",
    kills: ["granting/refused-carries-record"],
    broken: refuses((_, payload) => ({ payload })),
  },
  {
    breaks: "no refusal carries the payload",
    kills: ["granting/refused-carries-record"],
    broken: refuses(() => ({ payload: undefined })),
  },
  {
    breaks: "a refusal carries no record",
    kills: ["granting/refused-carries-record"],
    broken: refuses(() => null),
  },
  {
    breaks: "a refused attempt leaves its holder in the record",
    kills: ["granting/refused-changes-nothing"],
    broken: {
      steps: {
        acquire(before, request, nowUs) {
          const step = law.acquire(before, request, nowUs);
          if (step.result.outcome === "granted" || before === null) return step;
          return { ...step, record: { ...before, holder: request.holder } };
        },
      },
    },
  },
  {
    breaks: "the same grant again replaces the payload",
    kills: ["granting/granted-again"],
    broken: grantsAgain(({ payload }, _, request) => ({ payload: request.payload ?? payload })),
  },
  {
    breaks: "the same grant again replaces the seal",
    kills: ["granting/granted-again"],
    broken: grantsAgain((_, __, { sealed }) => ({ sealed })),
  },
  {
    breaks: "the same grant again raises the fence",
    kills: ["granting/granted-again", "granting/hand-over-once", "faults/acquire-swallowed"],
    broken: grantsAgain(({ fence }) => ({ fence: fence + 1n })),
  },
  {
    breaks: "the same grant again shortens the expiry",
    kills: ["granting/granted-again-expiry"],
    broken: grantsAgain((_, __, { ttlMs }, nowUs) => ({ expiresAt: Number(nowUs / 1000n) + ttlMs })),
  },
  {
    breaks: "the same grant again extends nothing",
    kills: ["granting/granted-again-expiry"],
    broken: grantsAgain((after, before) => ({ expiresAt: before?.expiresAt ?? after.expiresAt })),
  },
  {
    breaks: "a spent grant id is granted anew",
    kills: ["granting/spent-after-release", "granting/spent-after-lapse", "faults/acquire-swallowed-lapsed"],
    broken: acquires((record, _, nowUs) => (law.isHeld(record, nowUs) ? record : { ...record, grantId: "" })),
  },
  {
    breaks: "a spent grant id is granted anew where it left no seal",
    kills: ["granting/spent-after-release"],
    broken: acquires((record) =>
      record.expiresAt === 0 && !record.sealed ? { ...record, grantId: "" } : record,
    ),
  },
  {
    breaks: "an attempt after a fence leaves a free record where there was none",
    kills: ["granting/if-fence-zero", "granting/refused-changes-nothing"],
    broken: {
      steps: {
        acquire(before, request, nowUs) {
          const step = law.acquire(before, request, nowUs);
          if (before !== null || step.record !== null) return step;
          const { record } = law.overrule<string>(null, { ...request, fence: 0n, released: false }, nowUs);
          return { ...step, record };
        },
      },
    },
  },
  {
    breaks: "sealed is said before held",
    kills: ["granting/reasons-in-order"],
    broken: acquires((record, { grantId, from }) =>
      record.sealed && record.grantId !== grantId && !from ? { ...record, expiresAt: 1 } : record,
    ),
  },
  {
    breaks: "ifFence is not looked at",
    kills: ["granting/if-fence", "granting/if-fence-zero", "overruling/late-claim-refused"],
    broken: acquires(
      (record) => record,
      () => ({ ifFence: undefined }),
    ),
  },
  {
    breaks: "ifFence 0n counts as absent",
    kills: ["granting/if-fence-zero", "overruling/late-claim-refused"],
    broken: acquires(
      (record) => record,
      ({ ifFence }) => ({ ifFence: ifFence || undefined }),
    ),
  },
  {
    breaks: "a hand-over keeps the fence",
    kills: ["granting/hand-over", "fences/rise-over-everything"],
    broken: grants(({ fence }, before, { from }) => ({ fence: from ? (before?.fence ?? fence) : fence })),
  },
  {
    breaks: "a hand-over does not look at the fence",
    kills: ["granting/hand-over-once"],
    broken: acquires(
      (record) => record,
      ({ from }, record) => ({ from: from && { ...from, fence: record?.fence ?? from.fence } }),
    ),
  },
  {
    breaks: "a hand-over does not look at the grant",
    kills: ["granting/hand-over-once"],
    broken: acquires(
      (record) => record,
      ({ from }, record) => ({ from: from && { ...from, grantId: record?.grantId ?? from.grantId } }),
    ),
  },
  {
    breaks: "a hand-over takes a lapsed lease",
    kills: ["granting/hand-over-lapsed"],
    broken: {
      steps: {
        acquire(before, request, nowUs) {
          const lapsed = before !== null && before.expiresAt !== 0 && !law.isHeld(before, nowUs);
          const handed = lapsed && before.fence === request.from?.fence;
          return law.acquire(before, handed ? { ...request, from: undefined } : request, nowUs);
        },
      },
    },
  },
  {
    breaks: "grant ids are compared without case",
    kills: ["granting/grant-ids-by-bytes"],
    broken: acquires((record, { grantId }) =>
      record.grantId.toLowerCase() === grantId.toLowerCase() ? { ...record, grantId } : record,
    ),
  },
  {
    breaks: "the time is read before the wait for a lock",
    kills: ["granting/full-ttl-after-wait"],
    broken: {
      backend: (_, store) => ({
        async acquire(request) {
          const nowUs = storeNowUs(store);
          await store.locks.get(idOf(request.name));
          const { record, result } = law.acquire(
            store.records.get(idOf(request.name)) ?? null,
            request,
            nowUs,
          );
          if (record !== null) store.records.set(idOf(request.name), record);
          return result;
        },
      }),
    },
  },
  {
    breaks: "names are folded to lower case",
    kills: distinct,
    broken: renamed(({ key }) => ({ key: key.toLowerCase() })),
  },
  {
    breaks: "names are trimmed at the end",
    kills: distinct,
    broken: renamed(({ key }) => ({ key: key.trimEnd() })),
  },
  {
    breaks: "names are normalised",
    kills: distinct,
    broken: renamed(({ key }) => ({ key: key.normalize("NFC") })),
  },
  {
    breaks: "accents in names are ignored",
    kills: distinct,
    broken: renamed(({ key }) => ({ key: key.normalize("NFD").replaceAll(/\p{M}/gu, "") })),
  },
  {
    breaks: "names are stored as paths",
    kills: distinct,
    broken: renamed(({ key }) => ({ key: key.replaceAll(/\/+/g, "/") })),
  },
  {
    breaks: "names are cut at 255 characters",
    kills: ["granting/names-long"],
    broken: renamed(({ key }) => ({ key: key.slice(0, 255) })),
  },
  {
    breaks: "namespaces are folded to lower case",
    kills: ["granting/namespaces-isolated"],
    broken: renamed(({ namespace }) => ({ namespace: namespace.toLowerCase() })),
  },
  {
    breaks: "the parts of a name are joined without a mark between them",
    kills: ["granting/namespaces-isolated"],
    broken: renamed(({ namespace, key }) => ({ namespace: "all", key: namespace + key })),
  },
  {
    breaks: "list decodes the names that it reads",
    kills: ["granting/names-listed"],
    broken: {
      backend: (backend) => ({
        list: async (request, options) =>
          (await backend.list(request, options)).map((record) => ({
            ...record,
            key: record.key.replace("%20", " "),
          })),
      }),
    },
  },
];
