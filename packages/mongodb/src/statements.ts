/**
 * The steps as aggregation pipelines. Each is one command on one document, so the server decides and writes
 * atomically and by its own clock: `$$NOW` is constant within a command.
 *
 * Every write has the same shape. In: the document as stored, or nothing (an upsert). First a verdict:
 * `new` sets the fields, `again` moves `expiresAt` to `longer`, `no` sets every field to itself, which
 * writes nothing. The verdict stands in the pipeline and not in the filter, because the filter of an upsert
 * takes no expression and a filter that does not match answers no record. Out: the projected document.
 *
 * What comes from outside always stands behind `$literal` or `$eq`: "$fence" in a holder's name stays text.
 */
import type {
  AcquireRequest,
  Grant,
  ListRequest,
  Name,
  OverruleRequest,
  ReleaseRequest,
  RenewRequest,
} from "@coord/core";
import type { Fields, UpdateOne } from "./driver.ts";

/** The zero time: released. */
const zero = new Date(0);

/** No namespace has a colon, so no two names share an id; ids sort by the bytes of the key. */
export const idOf = (name: Name): string => `${name.namespace}:${name.key}`;

const literal = (value: unknown): Fields => ({ $literal: value });
const milliseconds = (ms: number | null): Fields => literal(ms === null ? null : BigInt(ms));

/** A missing `expiresAt`, in a document that is just being inserted, is not held. */
const held = { $gt: ["$expiresAt", "$$NOW"] };
const released = { $eq: ["$expiresAt", zero] };
const fence = { $ifNull: ["$fence", 0n] };
const nextFence = { $max: [{ $add: [fence, 1n] }, { $multiply: [{ $toLong: "$$NOW" }, 1000n] }] };
/** `$$NOW` is rounded down to the millisecond; rounded up, no lease is shorter than asked. */
const nowRoundedUp = { $add: ["$$NOW", 1n] };
const until = (ttlMs: number): Fields => ({ $add: ["$$NOW", literal(BigInt(ttlMs) + 1n)] });
/** The instant that the fence encodes: kept until then, a name that starts anew starts above it. */
const fenceInstant = { $toDate: { $toLong: { $ceil: { $divide: ["$fence", 1000n] } } } };
const purgeAt = {
  $cond: [
    { $or: [{ $eq: ["$retainMs", null] }, { $and: ["$sealed", { $ne: ["$expiresAt", zero] }] }] },
    null,
    { $add: [{ $max: ["$expiresAt", nowRoundedUp, fenceInstant] }, "$retainMs"] },
  ],
};

const isGrant = (grantId: string): Fields => ({ $eq: ["$grantId", literal(grantId)] });
const isFence = (value: bigint): Fields => ({ $eq: [fence, literal(value)] });

const metadata = {
  fence: 1,
  grantId: 1,
  holder: 1,
  expiresAt: 1,
  sealed: 1,
  payloadSeq: 1,
  retainMs: 1,
  purgeAt: 1,
  remainingMs: { $subtract: ["$expiresAt", "$$NOW"] },
};
const wholeRecord = { ...metadata, payload: 1 };
const payloadIf = (condition: Fields): Fields => ({
  ...metadata,
  payload: { $cond: [condition, "$payload", "$$REMOVE"] },
});

/** One write: what `findOneAndUpdate` takes. */
export interface Statement {
  readonly filter: Fields;
  readonly pipeline: Fields[];
  readonly options: {
    readonly upsert: boolean;
    readonly returnDocument: "before" | "after";
    readonly projection: Fields;
  };
}

/** `value` if that is the verdict. */
const when = (expected: "new" | "again" | "no", value: unknown, otherwise: unknown): Fields => ({
  $cond: [{ $eq: ["$_verdict", expected] }, value, otherwise],
});

function stages(verdict: Fields, fields: Fields, longer: Fields | string = "$expiresAt"): Fields[] {
  const set = Object.entries(fields).map(([field, value]) => {
    const kept = field === "expiresAt" ? when("again", longer, "$expiresAt") : `$${field}`;
    return [field, when("new", value, kept)];
  });
  return [
    { $set: { _verdict: verdict } },
    { $set: Object.fromEntries(set) },
    { $set: { purgeAt: when("no", "$purgeAt", purgeAt) } },
    { $unset: "_verdict" },
  ];
}

/**
 * In: an attempt. Out: the record afterwards, from which `acquired` in `answers.ts` reads the answer; null =
 * there is none and none may be made. Its payload is answered to the grant that holds it, or on request.
 */
export function acquireStatement(request: AcquireRequest): Statement {
  const { grantId, from, ifFence } = request;
  const mine = isGrant(grantId);
  const own = { $and: [held, mine] };
  const refused =
    from === undefined
      ? {
          $or: [
            held,
            { $eq: ["$sealed", true] },
            ...(ifFence === undefined ? [] : [{ $not: [isFence(ifFence)] }]),
          ],
        }
      : { $not: [{ $and: [held, isGrant(from.grantId), isFence(from.fence)] }] };
  // Its own grant that is over is spent: refused before all else.
  const verdict = { $cond: [own, "again", { $cond: [{ $or: [mine, refused] }, "no", "new"] }] };
  const expiresAt = until(request.ttlMs);
  const granted = {
    fence: nextFence,
    grantId: literal(grantId),
    holder: literal(request.holder),
    expiresAt,
    sealed: literal(request.sealed),
    retainMs: milliseconds(request.retainMs),
    payloadSeq: literal(0),
    ...(request.payload !== undefined && { payload: literal(request.payload) }),
  };
  return {
    filter: { _id: idOf(request.name) },
    pipeline: stages(verdict, granted, { $max: ["$expiresAt", expiresAt] }),
    options: {
      upsert: from === undefined && (ifFence === undefined || ifFence === 0n),
      returnDocument: "after",
      projection: request.withPayload ? wholeRecord : payloadIf(own),
    },
  };
}

/**
 * In: one renewal, and random text for its batch. It makes each renewal a real change, so that the
 * server's count of modified documents is exact, and tells afterwards which entries of a batch were applied.
 * The filter holds no `$$NOW`: DocumentDB refuses it there (code 9) once there is a second index.
 */
export function renewStatement(request: RenewRequest, batch: string): UpdateOne {
  const { payload, payloadSeq } = request;
  const newer = { $lt: ["$payloadSeq", literal(payloadSeq)] };
  const saved = payload !== undefined &&
    payloadSeq !== undefined && {
      payload: { $cond: [newer, literal(payload), "$payload"] },
      payloadSeq: { $cond: [newer, literal(payloadSeq), "$payloadSeq"] },
    };
  const renewed = {
    batch: literal(batch),
    expiresAt: { $max: ["$expiresAt", until(request.ttlMs)] },
    ...saved,
  };
  const verdict = { $cond: [held, "new", "no"] };
  return { updateOne: { filter: ofGrant(request), update: stages(verdict, renewed) } };
}

/** In: the batch's text. Out, per document: whose it is, whether that batch renewed it, whether it is held. */
export const renewedProjection = (batch: string): Fields => ({
  grantId: 1,
  fence: 1,
  applied: { $eq: ["$batch", literal(batch)] },
  held,
});

function ended(request: ReleaseRequest | OverruleRequest): Fields {
  return {
    expiresAt: zero,
    sealed: literal(request.sealed),
    retainMs: milliseconds(request.retainMs),
    ...(request.payload !== undefined && { payload: literal(request.payload) }),
  };
}

/**
 * Out: the record before, as only that tells a first release (no zero time yet) from a repeat, which writes
 * nothing and answers what stands; null = lost.
 */
export function releaseStatement(request: ReleaseRequest): Statement {
  const { name, grantId, fence: granted } = request;
  const grant = { _id: idOf(name), grantId: { $eq: grantId } };
  return {
    filter: granted === null ? grant : { ...grant, fence: { $eq: granted } },
    pipeline: stages({ $cond: [released, "no", "new"] }, ended(request)),
    options: { upsert: false, returnDocument: "before", projection: payloadIf(released) },
  };
}

/** Out: the record afterwards; it carries the request's own grant if it was overruled, now or by a repeat. */
export function overruleStatement(request: OverruleRequest): Statement {
  const mine = isGrant(request.grantId);
  const moved = {
    $or: [mine, { $not: [isFence(request.fence)] }, ...(request.released ? [] : [released])],
  };
  const overruled = {
    ...ended(request),
    fence: nextFence,
    grantId: literal(request.grantId),
    expiresAt: request.sealed || request.now ? zero : { $cond: [held, "$expiresAt", zero] },
    holder: { $ifNull: ["$holder", ""] },
    payloadSeq: { $ifNull: ["$payloadSeq", 0] },
  };
  return {
    filter: { _id: idOf(request.name) },
    pipeline: stages({ $cond: [moved, "no", "new"] }, overruled),
    options: {
      upsert: request.fence === 0n,
      returnDocument: "after",
      projection: payloadIf({ $not: [mine] }),
    },
  };
}

const ofGrant = ({ name, grantId, fence: granted }: Grant): Fields => ({
  _id: idOf(name),
  grantId: { $eq: grantId },
  fence: { $eq: granted },
});

/**
 * Inside the caller's transaction. It must write: a transaction that only read the lease would not conflict
 * with a takeover. Out: what is left of the lease; null = another grant.
 */
export function verifyStatement(grant: Grant, guard: string): Statement {
  return {
    filter: ofGrant(grant),
    pipeline: [{ $set: { guard: literal(guard) } }],
    options: { upsert: false, returnDocument: "after", projection: { remainingMs: metadata.remainingMs } },
  };
}

export const inspectQuery = (name: Name): { filter: Fields; projection: Fields } => ({
  filter: { _id: idOf(name) },
  projection: wholeRecord,
});

/** Sorts above whatever follows a prefix: a key has at most 512 bytes and core's short prefix. */
const last = "\u{10ffff}".repeat(160);

const states = {
  held: { remainingMs: { $gt: 0 } },
  free: { expiresAt: zero },
  lapsed: { remainingMs: { $lte: 0 }, expiresAt: { $ne: zero } },
};

/** Out: records without payloads in byte order of their keys. A range and not a pattern: a prefix is literal. */
export function listPipeline(request: ListRequest): Fields[] {
  const { namespace, prefix, state, sealed, after, limit } = request;
  const range = [
    { _id: { $gte: `${namespace}:${prefix}` } },
    { _id: { $lte: `${namespace}:${prefix}${last}` } },
    ...(after === undefined ? [] : [{ _id: { $gt: `${namespace}:${after}` } }]),
    ...(sealed === undefined ? [] : [{ sealed: { $eq: sealed } }]),
  ];
  return [
    { $match: { $and: range } },
    { $sort: { _id: 1 } },
    { $project: metadata },
    ...(state === undefined ? [] : [{ $match: states[state] }]),
    { $limit: limit },
  ];
}

/** The store's clock as the other statements see it; `$facet` answers one document from any collection. */
export const clockPipeline: Fields[] = [
  { $limit: 1 },
  { $facet: { any: [{ $limit: 1 }, { $project: { _id: 1 } }] } },
  { $project: { now: "$$NOW" } },
];

/** Writes that free or unseal a name. Heartbeats do not match; `_id` stays, it is the resume token. */
export const wakePipeline: Fields[] = [
  {
    $match: {
      operationType: { $in: ["update", "replace"] },
      $or: [
        { "updateDescription.updatedFields.expiresAt": zero },
        { "updateDescription.updatedFields.sealed": false },
        { "fullDocument.expiresAt": zero },
      ],
    },
  },
  { $project: { operationType: 1, documentKey: 1 } },
];
