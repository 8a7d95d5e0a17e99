import { transitions } from "@coord/core";
import type { LeaseRecord } from "@coord/core";
import type { Broken } from "../simulated-harness.ts";
import type { Steps } from "../simulated-store.ts";

/** A backend that breaks one rule, and the cases that must find it. */
export interface Mutant {
  readonly breaks: string;
  readonly kills: readonly string[];
  readonly broken: Broken;
  /** Whether it is found by the time limit of a case. @default false */
  readonly hangs?: boolean;
}

export const law: typeof transitions = transitions;

type Verb = "acquire" | "renew" | "release" | "overrule";
type Request<V extends Verb> = Parameters<Steps[V]>[1];
type Change<V extends Verb> = (
  after: LeaseRecord,
  before: LeaseRecord | null,
  request: Request<V>,
  nowUs: bigint,
) => Partial<LeaseRecord>;

const isHeldBy = (record: LeaseRecord | null, grantId: string): boolean => record?.grantId === grantId;

/** Acquire as the law has it, but a new grant is written differently. */
export const grants = (change: Change<"acquire">): Broken => ({
  steps: {
    acquire(before, request, nowUs) {
      const { record, result } = law.acquire(before, request, nowUs);
      const fresh = result.outcome === "granted" && !isHeldBy(before, request.grantId);
      if (!fresh || record === null) return { record, result };
      const written = { ...record, ...change(record, before, request, nowUs) };
      return { record: written, result: { ...result, fence: written.fence, payload: written.payload } };
    },
  },
});

/** Acquire as the law has it, but a repeated grant is written differently. */
export const grantsAgain = (change: Change<"acquire">): Broken => ({
  steps: {
    acquire(before, request, nowUs) {
      const { record, result } = law.acquire(before, request, nowUs);
      const again = result.outcome === "granted" && isHeldBy(before, request.grantId);
      if (!again || record === null) return { record, result };
      const written = { ...record, ...change(record, before, request, nowUs) };
      return { record: written, result: { ...result, fence: written.fence, payload: written.payload } };
    },
  },
});

/** Acquire decides on another record or request than there is; a refusal writes nothing. */
export const acquires = (
  see: (record: LeaseRecord, request: Request<"acquire">, nowUs: bigint) => LeaseRecord,
  ask: (request: Request<"acquire">, record: LeaseRecord | null) => Partial<Request<"acquire">> = () => ({}),
): Broken => ({
  steps: {
    acquire(before, request, nowUs) {
      const seen = before === null ? null : see(before, request, nowUs);
      const step = law.acquire(seen, { ...request, ...ask(request, before) }, nowUs);
      return step.record === seen ? { ...step, record: before } : step;
    },
  },
});

/** Renew as the law has it, but what it writes differs. */
export const renews = (change: Change<"renew">): Broken => ({
  steps: {
    renew(before, request, nowUs) {
      const { record, result } = law.renew(before, request, nowUs);
      if (record === null || result !== "renewed") return { record, result };
      return { record: { ...record, ...change(record, before, request, nowUs) }, result };
    },
  },
});

/** Renew takes another record or request than there is. */
export const renewsAs = (
  ask: (request: Request<"renew">, record: LeaseRecord, nowUs: bigint) => Partial<Request<"renew">>,
  see: (record: LeaseRecord, nowUs: bigint) => LeaseRecord = (record) => record,
): Broken => ({
  steps: {
    renew(before, request, nowUs) {
      if (before === null) return law.renew(before, request, nowUs);
      const seen = see(before, nowUs);
      const step = law.renew(seen, { ...request, ...ask(request, before, nowUs) }, nowUs);
      return step.record === seen ? { ...step, record: before } : step;
    },
  },
});

/** Release as the law has it, but what it writes differs. */
export const releases = (change: Change<"release">): Broken => ({
  steps: {
    release(before, request, nowUs) {
      const { record, result } = law.release(before, request, nowUs);
      if (record === null || record === before) return { record, result };
      return { record: { ...record, ...change(record, before, request, nowUs) }, result };
    },
  },
});

/** Release takes another request than it was given. */
export const releasesAs = (
  ask: (
    request: Request<"release">,
    record: LeaseRecord | null,
    nowUs: bigint,
  ) => Partial<Request<"release">>,
): Broken => ({
  steps: {
    release: (before, request, nowUs) =>
      law.release(before, { ...request, ...ask(request, before, nowUs) }, nowUs),
  },
});

/** Overrule as the law has it, but what it writes differs. */
export const overrules = (change: Change<"overrule">): Broken => ({
  steps: {
    overrule(before, request, nowUs) {
      const { record, result } = law.overrule(before, request, nowUs);
      if (record === null || record === before || result.outcome === "moved") return { record, result };
      const written = { ...record, ...change(record, before, request, nowUs) };
      return { record: written, result: { ...result, fence: written.fence } };
    },
  },
});

/** Overrule takes another request than it was given. */
export const overrulesAs = (
  ask: (request: Request<"overrule">, record: LeaseRecord | null) => Partial<Request<"overrule">>,
): Broken => ({
  steps: {
    overrule: (before, request, nowUs) =>
      law.overrule(before, { ...request, ...ask(request, before) }, nowUs),
  },
});
