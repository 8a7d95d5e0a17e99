/** Reads the contract's answers out of the documents that the statements answer. */
import {
  type AcquireRequest,
  type AcquireResult,
  ConfigurationError,
  type Name,
  type OverruleRequest,
  type OverruleResult,
  type RecordView,
  type ReleaseResult,
  UnavailableError,
} from "@coord/core";

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

const isWhole = (value: unknown): value is number | bigint =>
  typeof value === "bigint" || Number.isInteger(value);

/** The record in a projected document, `null` for none. */
export function recordIn(document: unknown, name: Name): RecordView | null {
  if (document === null || document === undefined) return null;
  const fields = isObject(document) ? document : {};
  const { fence, grantId, holder, expiresAt, sealed, payload, payloadSeq, retainMs, purgeAt } = fields;
  const { remainingMs } = fields;
  // A write that the driver sent again is answered with the stored image, which is not projected.
  if (remainingMs === undefined)
    throw new UnavailableError(`mongodb: the answer about "${name.key}" is a repeated write's. Ask again.`);
  if (
    typeof fence !== "bigint" ||
    typeof grantId !== "string" ||
    typeof holder !== "string" ||
    !(expiresAt instanceof Date) ||
    typeof sealed !== "boolean" ||
    !(payload === undefined || typeof payload === "string") ||
    !isWhole(payloadSeq) ||
    !(retainMs === null || isWhole(retainMs)) ||
    !(purgeAt === null || purgeAt instanceof Date) ||
    !isWhole(remainingMs)
  ) {
    throw new ConfigurationError(
      `mongodb: the document of "${name.key}" in namespace "${name.namespace}" is not a lease record. ` +
        "Only this library may write into its collection: move what else is there, or choose another one.",
    );
  }
  const left = Math.max(0, Number(remainingMs));
  const expiresAtMs = expiresAt.getTime();
  return {
    namespace: name.namespace,
    key: name.key,
    fence,
    grantId,
    holder,
    expiresAt: expiresAtMs,
    sealed,
    payload,
    payloadSeq: Number(payloadSeq),
    retainMs: retainMs === null ? null : Number(retainMs),
    purgeAt: purgeAt === null ? null : purgeAt.getTime(),
    state: left > 0 ? "held" : expiresAtMs === 0 ? "free" : "lapsed",
    remainingMs: left,
  };
}

/** The record after `acquireStatement` tells what it decided: a refused attempt has changed nothing. */
export function acquired(document: unknown, request: AcquireRequest): AcquireResult {
  const record = recordIn(document, request.name);
  if (record === null) return { outcome: "refused", reason: "moved", record: null, remainingMs: 0 };
  const mine = record.grantId === request.grantId;
  const held = record.state === "held";
  if (mine && held) return { outcome: "granted", fence: record.fence, payload: record.payload };
  const taken = held ? "held" : record.sealed ? "sealed" : "moved";
  const reason = mine ? "spent" : request.from === undefined ? taken : "moved";
  return { outcome: "refused", reason, record, remainingMs: record.remainingMs };
}

/** From the record before `releaseStatement`. */
export function released(document: unknown, name: Name): ReleaseResult {
  const record = recordIn(document, name);
  if (record === null) return { outcome: "lost" };
  return record.state === "free" ? { outcome: "released", record } : { outcome: "released" };
}

/** From the record after `overruleStatement`. */
export function overruled(document: unknown, request: OverruleRequest): OverruleResult {
  const record = recordIn(document, request.name);
  return record?.grantId === request.grantId
    ? { outcome: "overruled", fence: record.fence }
    : { outcome: "moved", record };
}
