/**
 * The law as code: the five steps as pure functions. A backend does the same in its store's own language.
 * The same `record` object back means that nothing is written.
 */
import type {
  AcquireRequest,
  AcquireResult,
  LeaseRecord,
  OverruleRequest,
  OverruleResult,
  RecordView,
  RefusalReason,
  ReleaseRequest,
  ReleaseResult,
  RenewOutcome,
  RenewRequest,
} from "./backend.ts";

export interface Step<Result, P = string> {
  readonly record: LeaseRecord<P> | null;
  readonly result: Result;
}

const floorMs = (us: bigint): number => Number(us / 1000n);
/** Rounded up, so that no lease is shorter than asked and no record goes before its time. */
const ceilMs = (us: bigint): number => floorMs(us + 999n);

export function isHeld(record: LeaseRecord<unknown> | null, nowUs: bigint): boolean {
  return record !== null && record.expiresAt > floorMs(nowUs);
}

/** The record with what the store's clock says of it. */
export function view<P>(record: LeaseRecord<P>, nowUs: bigint): RecordView<P> {
  const state = isHeld(record, nowUs) ? "held" : record.expiresAt === 0 ? "free" : "lapsed";
  return { ...record, state, remainingMs: Math.max(0, record.expiresAt - floorMs(nowUs)) };
}

/** Whether clean-up may delete it: past `purgeAt`, and then neither held nor sealed and unreleased. */
export function isPurgeable(record: LeaseRecord<unknown>, nowUs: bigint): boolean {
  return record.purgeAt !== null && record.purgeAt < floorMs(nowUs) && !isHeld(record, nowUs);
}

function withPurgeAt<P>(record: Omit<LeaseRecord<P>, "purgeAt">, nowUs: bigint): LeaseRecord<P> {
  const kept = record.retainMs === null || (record.sealed && record.expiresAt !== 0);
  const end = Math.max(ceilMs(nowUs), record.expiresAt, ceilMs(record.fence));
  return { ...record, purgeAt: kept || record.retainMs === null ? null : end + record.retainMs };
}

function nextFence(record: LeaseRecord<unknown> | null, nowUs: bigint): bigint {
  return record !== null && record.fence + 1n > nowUs ? record.fence + 1n : nowUs;
}

function refusal(
  record: LeaseRecord<unknown> | null,
  request: AcquireRequest,
  nowUs: bigint,
): RefusalReason | undefined {
  const held = isHeld(record, nowUs);
  if (record?.grantId === request.grantId) return "spent";
  if (request.from !== undefined) {
    const handed = held && record?.grantId === request.from.grantId && record.fence === request.from.fence;
    return handed ? undefined : "moved";
  }
  if (held) return "held";
  if (record?.sealed) return "sealed";
  return request.ifFence !== undefined && request.ifFence !== (record?.fence ?? 0n) ? "moved" : undefined;
}

export function acquire<P>(
  record: LeaseRecord<P> | null,
  request: AcquireRequest,
  nowUs: bigint,
): Step<AcquireResult<P | string>, P | string> {
  const expiresAt = ceilMs(nowUs) + request.ttlMs;
  if (record !== null && record.grantId === request.grantId && isHeld(record, nowUs)) {
    return {
      record: withPurgeAt({ ...record, expiresAt: Math.max(record.expiresAt, expiresAt) }, nowUs),
      result: { outcome: "granted", fence: record.fence, payload: record.payload },
    };
  }
  const reason = refusal(record, request, nowUs);
  if (reason !== undefined) {
    const seen = record === null ? null : view(record, nowUs);
    const shown = seen !== null && !request.withPayload ? { ...seen, payload: undefined } : seen;
    return {
      record,
      result: { outcome: "refused", reason, record: shown, remainingMs: seen?.remainingMs ?? 0 },
    };
  }
  const fence = nextFence(record, nowUs);
  const payload = request.payload ?? record?.payload;
  const granted = {
    ...request.name,
    fence,
    grantId: request.grantId,
    holder: request.holder,
    expiresAt,
    sealed: request.sealed,
    payload,
    payloadSeq: 0,
    retainMs: request.retainMs,
  };
  return { record: withPurgeAt(granted, nowUs), result: { outcome: "granted", fence, payload } };
}

export function renew<P>(
  record: LeaseRecord<P> | null,
  request: RenewRequest,
  nowUs: bigint,
): Step<RenewOutcome, P | string> {
  const mine = record?.grantId === request.grantId && record.fence === request.fence;
  if (record === null || !mine || !isHeld(record, nowUs)) return { record, result: "lost" };
  const { payload, payloadSeq } = request;
  const newer = payload !== undefined && payloadSeq !== undefined && payloadSeq > record.payloadSeq;
  const expiresAt = Math.max(record.expiresAt, ceilMs(nowUs) + request.ttlMs);
  const renewed = { ...record, expiresAt, ...(newer && { payload, payloadSeq }) };
  return { record: withPurgeAt<P | string>(renewed, nowUs), result: "renewed" };
}

export function release<P>(
  record: LeaseRecord<P> | null,
  request: ReleaseRequest,
  nowUs: bigint,
): Step<ReleaseResult<P | string>, P | string> {
  const mine =
    record?.grantId === request.grantId && (request.fence === null || record.fence === request.fence);
  if (record === null || !mine) return { record, result: { outcome: "lost" } };
  if (record.expiresAt === 0) return { record, result: { outcome: "released", record: view(record, nowUs) } };
  const ended = {
    ...record,
    expiresAt: 0,
    sealed: request.sealed,
    retainMs: request.retainMs,
    payload: request.payload ?? record.payload,
  };
  return { record: withPurgeAt<P | string>(ended, nowUs), result: { outcome: "released" } };
}

export function overrule<P>(
  record: LeaseRecord<P> | null,
  request: OverruleRequest,
  nowUs: bigint,
): Step<OverruleResult<P | string>, P | string> {
  if (record?.grantId === request.grantId)
    return { record, result: { outcome: "overruled", fence: record.fence } };
  const releasedSince = record !== null && record.expiresAt === 0 && !request.released;
  if ((record?.fence ?? 0n) !== request.fence || releasedSince) {
    return { record, result: { outcome: "moved", record: record === null ? null : view(record, nowUs) } };
  }
  const fence = nextFence(record, nowUs);
  const waits = record !== null && isHeld(record, nowUs) && !request.sealed && !request.now;
  const overruled = {
    ...request.name,
    fence,
    grantId: request.grantId,
    holder: record?.holder ?? "",
    expiresAt: waits ? record.expiresAt : 0,
    sealed: request.sealed,
    payload: request.payload ?? record?.payload,
    payloadSeq: record?.payloadSeq ?? 0,
    retainMs: request.retainMs,
  };
  return { record: withPurgeAt<P | string>(overruled, nowUs), result: { outcome: "overruled", fence } };
}

/** Keys are compared by the bytes of their UTF-8, which is not how JavaScript compares strings. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
