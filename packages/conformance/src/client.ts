import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type {
  AcquireRequest,
  AcquireResult,
  Backend,
  CallOptions,
  Diagnosis,
  Grant,
  ListRequest,
  Name,
  OverruleRequest,
  OverruleResult,
  RecordView,
  ReleaseRequest,
  ReleaseResult,
  RenewOutcome,
  RenewRequest,
} from "@coord/core";

export type Refused = Extract<AcquireResult, { outcome: "refused" }>;
export type Granted = Grant & { readonly payload: string | undefined };

type Wishes<Request> = Partial<Omit<Request, "name">>;

/** A backend with the defaults of a case: fresh grant ids, a ttl nobody waits out, nothing sealed. */
export interface Client {
  readonly backend: Backend;
  readonly options: () => CallOptions;
  readonly acquire: (name: Name, wishes?: Wishes<AcquireRequest>) => Promise<AcquireResult>;
  /** An acquire that must be granted. */
  readonly grant: (name: Name, wishes?: Wishes<AcquireRequest>) => Promise<Granted>;
  /** An acquire that must be refused, for that reason. */
  readonly refuse: (
    name: Name,
    reason: Refused["reason"],
    wishes?: Wishes<AcquireRequest>,
  ) => Promise<Refused>;
  readonly renew: (grant: Grant, wishes?: Wishes<RenewRequest>) => Promise<RenewOutcome>;
  readonly renewAll: (requests: readonly RenewRequest[]) => Promise<RenewOutcome[]>;
  readonly release: (grant: Grant, wishes?: Wishes<ReleaseRequest>) => Promise<ReleaseResult>;
  /** Without wishes: what is stored now is overruled as it was read. */
  readonly overrule: (name: Name, wishes?: Wishes<OverruleRequest>) => Promise<OverruleResult>;
  /** An overrule that must be applied; answers the new fence. */
  readonly depose: (name: Name, wishes?: Wishes<OverruleRequest>) => Promise<bigint>;
  readonly inspect: (name: Name) => Promise<RecordView | null>;
  /** The record, which must be there. */
  readonly see: (name: Name) => Promise<RecordView>;
  readonly list: (request: Omit<ListRequest, "limit"> & { limit?: number }) => Promise<RecordView[]>;
  readonly prune: (limit?: number) => Promise<number>;
  readonly diagnose: () => Promise<Diagnosis>;
}

/** 128 random bits as text in which upper and lower case differ. */
export function freshGrantId(): string {
  return randomBytes(16).toString("base64url");
}

/** A ttl in milliseconds that outlives every case. */
export const longTtlMs = 300_000;
const dayMs = 86_400_000;

export function clientOf(backend: Backend, timeoutMs: number): Client {
  const options = (): CallOptions => ({ signal: AbortSignal.timeout(timeoutMs), timeoutMs });
  const acquire: Client["acquire"] = (name, wishes) =>
    backend.acquire(
      {
        name,
        grantId: freshGrantId(),
        holder: "conformance",
        ttlMs: longTtlMs,
        sealed: false,
        retainMs: dayMs,
        ...wishes,
      },
      options(),
    );
  const renewAll: Client["renewAll"] = async (requests) => {
    const outcomes = await backend.renew(requests, options());
    assert.equal(outcomes.length, requests.length, "renew answers one outcome per request");
    return outcomes;
  };
  const overrule: Client["overrule"] = async (name, wishes) => {
    const read = wishes?.fence === undefined ? await backend.inspect(name, options()) : null;
    return await backend.overrule(
      {
        name,
        grantId: freshGrantId(),
        fence: read?.fence ?? 0n,
        released: read?.state === "free",
        sealed: false,
        retainMs: dayMs,
        ...wishes,
      },
      options(),
    );
  };
  return {
    backend,
    options,
    acquire,
    async grant(name, wishes = {}) {
      const grantId = wishes.grantId ?? freshGrantId();
      const result = await acquire(name, { ...wishes, grantId });
      assert.equal(result.outcome, "granted", `acquire of ${show(name)} ${detail(result)}`);
      return { name, grantId, fence: result.fence, payload: result.payload };
    },
    async refuse(name, reason, wishes) {
      const result = await acquire(name, wishes);
      assert.equal(result.outcome, "refused", `acquire of ${show(name)} must be refused as ${reason}`);
      assert.equal(result.reason, reason, `acquire of ${show(name)} must be refused as ${reason}`);
      return result;
    },
    async renew({ name, grantId, fence }, wishes) {
      const outcomes = await renewAll([{ name, grantId, fence, ttlMs: longTtlMs, ...wishes }]);
      return outcomes[0] ?? "unknown";
    },
    renewAll,
    release: ({ name, grantId, fence }, wishes) =>
      backend.release({ name, grantId, fence, sealed: false, retainMs: dayMs, ...wishes }, options()),
    overrule,
    async depose(name, wishes) {
      const result = await overrule(name, wishes);
      assert.equal(result.outcome, "overruled", `overrule of ${show(name)} must be applied`);
      return result.fence;
    },
    inspect: (name) => backend.inspect(name, options()),
    async see(name) {
      const record = await backend.inspect(name, options());
      assert.ok(record, `${show(name)} has a record`);
      return record;
    },
    list: (request) => backend.list({ limit: 1000, ...request }, options()),
    prune: (limit = 1000) => backend.prune({ limit }, options()),
    diagnose: () => backend.diagnose(options()),
  };
}

function show(name: Name): string {
  return JSON.stringify(`${name.namespace}/${name.key}`).slice(0, 80);
}

function detail(result: AcquireResult): string {
  return result.outcome === "refused" ? `was refused: ${result.reason}` : "was granted";
}
