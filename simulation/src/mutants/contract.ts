import type { Mutant } from "./load.ts";

const inRecord = (name: string, find: string, replace: string): Mutant => ({
  name,
  file: "record.ts",
  find,
  replace,
});

/** Ways to get the contract wrong; each must be found out. */
export const contractMutants: readonly Mutant[] = [
  inRecord(
    "renew revives a lapsed lease",
    'if (record === null || !mine || !isHeld(record, nowUs)) return { record, result: "lost" };',
    'if (record === null || !mine) return { record, result: "lost" };',
  ),
  inRecord(
    "renew revives a released lease",
    'if (record === null || !mine || !isHeld(record, nowUs)) return { record, result: "lost" };',
    'if (record === null || !mine || (record.expiresAt !== 0 && !isHeld(record, nowUs))) return { record, result: "lost" };',
  ),
  inRecord(
    "renew does not compare the fence",
    "const mine = record?.grantId === request.grantId && record.fence === request.fence;\n  if (record === null || !mine || !isHeld",
    "const mine = record?.grantId === request.grantId;\n  if (record === null || !mine || !isHeld",
  ),
  inRecord(
    "renew does not compare the grant",
    "const mine = record?.grantId === request.grantId && record.fence === request.fence;\n  if (record === null || !mine || !isHeld",
    "const mine = true;\n  if (record === null || !mine || !isHeld",
  ),
  inRecord(
    "renew shortens the expiry",
    "const expiresAt = Math.max(record.expiresAt, ceilMs(nowUs) + request.ttlMs);",
    "const expiresAt = ceilMs(nowUs) + request.ttlMs;",
  ),
  inRecord(
    "renew stores nothing",
    "const renewed = { ...record, expiresAt, ...(newer && { payload, payloadSeq }) };",
    "const renewed = { ...record, ...(newer && { payload, payloadSeq }) };",
  ),
  inRecord(
    "renew ignores payloadSeq",
    "payloadSeq !== undefined && payloadSeq > record.payloadSeq;",
    "payloadSeq !== undefined;",
  ),
  inRecord(
    "renew drops the payload",
    "...(newer && { payload, payloadSeq }) };",
    "...(newer && { payloadSeq }) };",
  ),
  inRecord(
    "renew does not move purgeAt",
    'return { record: withPurgeAt<P | string>(renewed, nowUs), result: "renewed" };',
    'return { record: renewed, result: "renewed" };',
  ),
  inRecord(
    "the fence is not raised at a takeover",
    "return record !== null && record.fence + 1n > nowUs ? record.fence + 1n : nowUs;",
    "return record !== null ? record.fence : nowUs;",
  ),
  inRecord(
    "the fence is the clock alone",
    "return record !== null && record.fence + 1n > nowUs ? record.fence + 1n : nowUs;",
    "return record === null ? nowUs : nowUs;",
  ),
  inRecord(
    "the fence is a counter that begins anew after a deletion",
    "return record !== null && record.fence + 1n > nowUs ? record.fence + 1n : nowUs;",
    "return record !== null ? record.fence + 1n : nowUs > 0n ? 1n : 0n;",
  ),
  inRecord("acquire ignores that somebody holds it", 'if (held) return "held";', ""),
  inRecord(
    "acquire takes over a little early",
    "return record !== null && record.expiresAt > floorMs(nowUs);",
    "return record !== null && record.expiresAt > floorMs(nowUs) + 60;",
  ),
  inRecord("acquire ignores the seal", 'if (record?.sealed) return "sealed";', ""),
  inRecord(
    "acquire ignores ifFence",
    'return request.ifFence !== undefined && request.ifFence !== (record?.fence ?? 0n) ? "moved" : undefined;',
    "return undefined;",
  ),
  inRecord("acquire grants a spent id again", 'if (record?.grantId === request.grantId) return "spent";', ""),
  inRecord(
    "acquire revives its own lapsed grant",
    "if (record !== null && record.grantId === request.grantId && isHeld(record, nowUs)) {",
    "if (record !== null && record.grantId === request.grantId && record.expiresAt !== 0) {",
  ),
  inRecord(
    "acquire gives a repeated request a new fence",
    "if (record !== null && record.grantId === request.grantId && isHeld(record, nowUs)) {\n    return {\n      record: withPurgeAt({ ...record,",
    "if (record !== null && record.grantId === request.grantId && isHeld(record, nowUs)) {\n    const fence = nextFence(record, nowUs);\n    return {\n      record: withPurgeAt({ ...record, fence,",
  ),
  inRecord(
    "acquire shortens the expiry when it is repeated",
    "record: withPurgeAt({ ...record, expiresAt: Math.max(record.expiresAt, expiresAt) }, nowUs),",
    "record: withPurgeAt({ ...record, expiresAt }, nowUs),",
  ),
  inRecord(
    "acquire undoes a save when it is repeated",
    "record: withPurgeAt({ ...record, expiresAt: Math.max(record.expiresAt, expiresAt) }, nowUs),",
    "record: withPurgeAt<P | string>({ ...record, payload: request.payload, expiresAt: Math.max(record.expiresAt, expiresAt) }, nowUs),",
  ),
  inRecord(
    "acquire drops the payload of the holder before",
    "const payload = request.payload ?? record?.payload;\n  const granted",
    "const payload = request.payload;\n  const granted",
  ),
  inRecord(
    "acquire keeps payloadSeq of the holder before",
    "    payloadSeq: 0,",
    "    payloadSeq: record?.payloadSeq ?? 0,",
  ),
  inRecord(
    "acquire grants half the ttl",
    "const expiresAt = ceilMs(nowUs) + request.ttlMs;\n  if",
    "const expiresAt = ceilMs(nowUs) + request.ttlMs / 2;\n  if",
  ),
  inRecord(
    "a hand-over does not need the grant to be held",
    "const handed = held && record?.grantId",
    "const handed = record?.grantId",
  ),
  inRecord(
    "a hand-over goes to whoever asks",
    'return handed ? undefined : "moved";',
    'return handed || held ? undefined : "moved";',
  ),
  inRecord(
    "a hand-over does not compare the fence",
    "record?.grantId === request.from.grantId && record.fence === request.from.fence;",
    "record?.grantId === request.from.grantId;",
  ),
  inRecord(
    "the second release overwrites the first",
    'if (record.expiresAt === 0) return { record, result: { outcome: "released", record: view(record, nowUs) } };',
    "",
  ),
  inRecord(
    "release does not compare the grant",
    "record?.grantId === request.grantId && (request.fence === null || record.fence === request.fence);",
    "request.fence === null || record?.fence === request.fence || record !== null;",
  ),
  inRecord(
    "release does not compare the fence",
    "record?.grantId === request.grantId && (request.fence === null || record.fence === request.fence);",
    "record?.grantId === request.grantId;",
  ),
  inRecord(
    "release of a lapsed record is refused",
    'if (record === null || !mine) return { record, result: { outcome: "lost" } };',
    'if (record === null || !mine || (record.expiresAt !== 0 && !isHeld(record, nowUs))) return { record, result: { outcome: "lost" } };',
  ),
  inRecord("release frees nothing", "    ...record,\n    expiresAt: 0,", "    ...record,"),
  {
    name: "release deletes the record",
    file: "memory.ts",
    find: "records.set(id, record);",
    replace:
      "if (before !== null && before.expiresAt !== 0 && record.expiresAt === 0) records.delete(id); else records.set(id, record);",
  },
  {
    name: "release wakes nobody",
    file: "memory.ts",
    find: "if (record.expiresAt === 0) wake(id, record.sealed);",
    replace: "",
  },
  inRecord("overrule frees at once", "expiresAt: waits ? record.expiresAt : 0,", "expiresAt: 0,"),
  inRecord(
    "overrule does not raise the fence",
    "const fence = nextFence(record, nowUs);\n  const waits",
    "const fence = record?.fence ?? nowUs;\n  const waits",
  ),
  inRecord(
    "overrule keeps the old grant",
    "    grantId: request.grantId,\n    holder: record?.holder",
    "    grantId: record?.grantId ?? request.grantId,\n    holder: record?.holder",
  ),
  inRecord(
    "overrule does not compare the fence",
    "if ((record?.fence ?? 0n) !== request.fence || releasedSince) {",
    "if (releasedSince) {",
  ),
  inRecord(
    "overrule ignores a release since",
    "if ((record?.fence ?? 0n) !== request.fence || releasedSince) {",
    "if ((record?.fence ?? 0n) !== request.fence) {",
  ),
  inRecord(
    "overrule drops the payload",
    "payload: request.payload ?? record?.payload,\n    payloadSeq: record?.payloadSeq ?? 0,",
    "payload: request.payload,\n    payloadSeq: record?.payloadSeq ?? 0,",
  ),
  inRecord(
    "held records are purged",
    "return record.purgeAt !== null && record.purgeAt < floorMs(nowUs) && !isHeld(record, nowUs);",
    "return record.purgeAt !== null && nowUs > 0n;",
  ),
  inRecord(
    "sealed records are purged before they are resolved",
    "const kept = record.retainMs === null || (record.sealed && record.expiresAt !== 0);",
    "const kept = record.retainMs === null;",
  ),
  inRecord("records are purged as soon as they end", "end + record.retainMs };", "end };"),
  inRecord(
    "retention counts from the fence alone",
    "const end = Math.max(ceilMs(nowUs), record.expiresAt, ceilMs(record.fence));",
    "const end = ceilMs(record.fence);",
  ),
  inRecord(
    "retention does not heed a fence of the future",
    "const end = Math.max(ceilMs(nowUs), record.expiresAt, ceilMs(record.fence));",
    "const end = Math.max(ceilMs(nowUs), record.expiresAt);",
  ),
  inRecord(
    "records are never purged",
    "return record.purgeAt !== null && record.purgeAt < floorMs(nowUs) && !isHeld(record, nowUs);",
    "return record.purgeAt === null && nowUs < 0n;",
  ),
];
