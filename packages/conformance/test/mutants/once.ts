import type { Backend, LeaseRecord, Name } from "@coord/core";
import type { Broken } from "../simulated-harness.ts";
import { acquires, law, overrules, overrulesAs, releases, renews } from "./mutant.ts";
import type { Mutant } from "./mutant.ts";

const cases = (...ids: readonly string[]): readonly string[] => ids.map((id) => `once/${id}`);

/** The backend as core would use it if it forgot something. */
const asked = (change: (backend: Backend) => Partial<Backend>): Broken => ({ backend: change });

const payloadAs = (change: (payload: string) => string): Broken => {
  const changed = ({ payload }: LeaseRecord): Partial<LeaseRecord> =>
    payload === undefined ? {} : { payload: change(payload) };
  return { steps: { ...releases(changed).steps, ...overrules(changed).steps } };
};

/** Everything that a name is used in, under another key. */
function folding(fold: (key: string) => string): Broken {
  const renamed = <R extends { readonly name: Name }>(request: R): R => ({
    ...request,
    name: { ...request.name, key: fold(request.name.key) },
  });
  return asked((backend) => ({
    acquire: (request, options) => backend.acquire(renamed(request), options),
    renew: (requests, options) => backend.renew(requests.map(renamed), options),
    release: (request, options) => backend.release(renamed(request), options),
    overrule: (request, options) => backend.overrule(renamed(request), options),
    inspect: (name, options) => backend.inspect(renamed({ name }).name, options),
  }));
}

export const once: readonly Mutant[] = [
  {
    breaks: "a refusal carries no payload, though it was asked for",
    kills: cases("round-trips", "of-many", "input"),
    broken: asked((backend) => ({
      acquire: (request, options) => backend.acquire({ ...request, withPayload: false }, options),
    })),
  },
  {
    breaks: "a claim is granted to everybody",
    kills: cases("of-many", "running", "round-trips"),
    broken: {
      steps: {
        acquire: (_, request, nowUs) => law.acquire(null, { ...request, ifFence: undefined }, nowUs),
      },
    },
  },
  {
    breaks: "a held claim is taken over",
    kills: cases("running", "of-many", "resolve-running"),
    broken: acquires(
      (record) => ({ ...record, sealed: false, expiresAt: 0 }),
      (request, record) => ({ ifFence: request.ifFence === 0n ? record?.fence : request.ifFence }),
    ),
  },
  {
    breaks: "a run of a key does not bind its input",
    kills: cases("input"),
    broken: payloadAs((payload) => payload.replace('"attempt":1', '"attempt":0')),
  },
  {
    breaks: "claims are not sealed",
    kills: cases("lapsed", "close"),
    broken: asked((backend) => ({
      acquire: (request, options) => backend.acquire({ ...request, sealed: false }, options),
    })),
  },
  {
    breaks: "what is sealed and released is cleaned up though it is to be kept for ever",
    kills: cases("kept"),
    broken: { steps: { isPurgeable: ({ sealed, expiresAt }) => sealed && expiresAt === 0 } },
  },
  {
    breaks: "a claim that lapsed can't be released any more",
    kills: cases("late", "resolve-late"),
    broken: {
      steps: {
        release(before, request, nowUs) {
          const lapsed = before !== null && before.expiresAt !== 0 && !law.isHeld(before, nowUs);
          if (lapsed) return { record: before, result: { outcome: "lost" } };
          return law.release(before, request, nowUs);
        },
      },
    },
  },
  {
    breaks: "an overruled claim can still be released by who had it",
    kills: cases("superseded", "resolve-running"),
    broken: {
      steps: {
        ...overrules((after, before) => ({
          fence: before?.fence ?? after.fence,
          grantId: before?.grantId ?? after.grantId,
        })).steps,
        release: (before, request, nowUs) =>
          law.release(
            before === null ? null : { ...before, expiresAt: before.expiresAt || 1 },
            request,
            nowUs,
          ),
      },
    },
  },
  {
    breaks: "a release keeps the seal of the claim",
    kills: cases("throws"),
    broken: releases((_, before) => ({ sealed: before?.sealed ?? false })),
  },
  {
    breaks: "a release keeps the payload of the claim",
    kills: cases("throws", "not-stored", "largest", "late", "export"),
    broken: releases((_, before) => ({ payload: before?.payload })),
  },
  {
    breaks: "progress is not stored",
    kills: cases("progress"),
    broken: renews((_, before) => ({ payload: before?.payload })),
  },
  {
    breaks: "a response is cut at 100,000 characters",
    kills: cases("largest"),
    broken: payloadAs((payload) => payload.slice(0, 100_000)),
  },
  {
    breaks: "an overrule does not take the seal away",
    kills: cases("rerun", "probe-not-done", "progress"),
    broken: overrules((after, before) => ({ sealed: after.sealed || before?.sealed === true })),
  },
  {
    breaks: "an overrule does not look at the fence that was read",
    kills: cases("probe", "resolve"),
    broken: overrulesAs((_, record) => ({ fence: record?.fence ?? 0n, released: true })),
  },
  {
    breaks: "an overrule does not notice a release since it was read",
    kills: cases("resolve-late"),
    broken: overrulesAs(() => ({ released: true })),
  },
  {
    breaks: "an overrule frees a running execution at once",
    kills: cases("resolve-running"),
    broken: overrulesAs(() => ({ now: true })),
  },
  {
    breaks: "a claim does not say after which record it comes",
    kills: cases("given-up"),
    broken: asked((backend) => ({
      acquire: (request, options) => backend.acquire({ ...request, ifFence: undefined }, options),
    })),
  },
  {
    breaks: "an overrule of no record writes none",
    kills: cases("given-up", "export"),
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
    breaks: "a release by the grant id alone finds nothing",
    kills: cases("won-and-given-up"),
    broken: {
      steps: {
        release: (before, request, nowUs) =>
          law.release(before, { ...request, fence: request.fence ?? -1n }, nowUs),
      },
    },
  },
  {
    breaks: "a release that is repeated is lost",
    kills: cases("reply-lost"),
    broken: {
      steps: {
        release: (before, request, nowUs) =>
          before?.expiresAt === 0
            ? { record: before, result: { outcome: "lost" } }
            : law.release(before, request, nowUs),
      },
    },
  },
  {
    breaks: "keys of all kinds are one key space",
    kills: cases("key-spaces"),
    broken: folding((key) => key.replace(/^[lx]/, "x")),
  },
];
