/**
 * Every statement of the backend, as text with `?` for user data. Rules that hold for all of them:
 *
 * - The clock is the server's, in whole microseconds without a time zone, fixed when a statement starts.
 *   Times are stored as whole milliseconds, rounded as `transitions` of core rounds them.
 * - Text travels as binary (`X'…'`), numbers as digits, so no character set, collation, time zone or
 *   `sql_mode` changes what a statement means.
 * - Assignments run from left to right and each sees those before it: their order is part of the meaning.
 *   `last_fence` equals `fence` between statements; within one, `fence>last_fence` says "granted here".
 * - What a step decided comes back through `LAST_INSERT_ID(…)`: unlike the count of rows, it does not depend
 *   on how the client connected (`FOUND_ROWS`), and it saves a second round trip.
 */

/** Microseconds since 1970. */
export const NOW_US = "TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(6))";
/** Milliseconds since 1970: what has begun counts as past when asked who holds, and as ahead when granting. */
const NOW_MS = `(${NOW_US} DIV 1000)`;
const NEXT_MS = `((${NOW_US}+999) DIV 1000)`;

/** Quoted names of the two tables. */
export interface Tables {
  readonly lease: string;
  readonly payload: string;
}

/** A ttl that fewer requests of a batch ask for than the usual one, and how many do. */
export interface OtherTtl {
  readonly ttlMs: number;
  readonly grants: number;
}

export interface Statements {
  readonly acquire: string;
  /** `fence`: the record has the given fence and is free; `from`: it is held by exactly the given grant. */
  acquireUpdate(on: "fence" | "from"): string;
  storePayload: string;
  record(withPayload: boolean): string;
  readonly recordLocked: string;
  renewBatch(rows: number, ttlMs: number, others: readonly OtherTtl[]): string;
  readonly renewWithPayload: string;
  records(rows: number): string;
  release(anyFence: boolean): string;
  readonly overrule: string;
  readonly overruleNothing: string;
  list(conditions: readonly string[]): string;
  readonly purgeable: string;
  prune(rows: number): string;
  readonly verify: string;
  readonly isFree: string;
  /** Waits up to so many seconds for the gate to open, then looks at the record. */
  watchGate(seconds: number): string;
}

const marks = (count: number): string => Array.from({ length: count }, () => "?").join(",");
const tuples = (rows: number, width: number): string =>
  Array.from({ length: rows }, () => `(${marks(width)})`).join(",");

/** Conditions of `list`, by state. */
export const inState: Readonly<Record<"held" | "free" | "lapsed", string>> = {
  held: `l.expires_ms>${NOW_MS}`,
  free: "l.expires_ms=0",
  lapsed: `(l.expires_ms<>0 AND l.expires_ms<=${NOW_MS})`,
};

const FIELDS =
  "l.ns,l.k,l.fence,l.grant_id,CAST(l.holder AS BINARY) AS holder,l.expires_ms,l.sealed,l.payload_seq,l.retain_ms,l.purge_ms";
const COLUMNS =
  "ns,k,fence,last_fence,grant_id,expires_ms,sealed,retain_ms,purge_ms,holder,payload_seq,payload_at,payload";
/** Past its purge time, and then neither held nor sealed and unreleased. */
const PURGEABLE = `l.purge_ms<${NOW_MS} AND (l.expires_ms=0 OR (l.sealed=0 AND l.expires_ms<=${NOW_MS} AND l.expires_ms+l.retain_ms<${NOW_MS}))`;

export function statements({ lease, payload }: Tables): Statements {
  return {
    /**
     * acquire without `ifFence`, or with `0n`.
     * In: ns, k, grant id, ttl ms, sealed, retain ms or NULL, holder, payload_at or NULL to keep the stored
     * payload, payload, 1 if there must be no record.
     * Out: insertId 0 = refused; else fence*4, +2 = this grant had it already, +1 = a payload was stored before.
     * One statement, so that fence and grant are one step also where the row does not exist yet.
     */
    acquire: `INSERT INTO ${lease} (${COLUMNS})
SELECT m.ns,m.k,LAST_INSERT_ID(m.t*4) DIV 4,m.t,m.g,m.c+m.ttl,m.sealed,m.retain,m.c+m.ttl+m.retain,m.holder,0,COALESCE(m.pat,0),m.payload
FROM (SELECT ${NOW_US} AS t,${NEXT_MS} AS c,? AS ns,? AS k,? AS g,? AS ttl,? AS sealed,? AS retain,? AS holder,? AS pat,? AS payload,? AS only_new) m
ON DUPLICATE KEY UPDATE
fence=CASE
 WHEN grant_id=m.g THEN IF(expires_ms>m.t DIV 1000,LAST_INSERT_ID(fence*4+2+(payload_at<>0)) DIV 4,fence+0*LAST_INSERT_ID(0))
 WHEN expires_ms<=m.t DIV 1000 AND ${lease}.sealed=0 AND m.only_new=0 THEN LAST_INSERT_ID(GREATEST(fence+1,m.t)*4+(payload_at<>0)) DIV 4
 ELSE fence+0*LAST_INSERT_ID(0) END,
holder=IF(fence>last_fence,m.holder,${lease}.holder),
sealed=IF(fence>last_fence,m.sealed,${lease}.sealed),
retain_ms=IF(fence>last_fence,m.retain,retain_ms),
purge_ms=IF(fence>last_fence,GREATEST((fence+999) DIV 1000,m.c+m.ttl)+m.retain,purge_ms),
payload_seq=IF(fence>last_fence,0,payload_seq),
payload=IF(fence>last_fence AND m.pat IS NOT NULL,m.payload,${lease}.payload),
payload_at=IF(fence>last_fence AND m.pat IS NOT NULL,m.pat,payload_at),
expires_ms=CASE WHEN fence>last_fence THEN m.c+m.ttl WHEN grant_id=m.g AND expires_ms>m.t DIV 1000 THEN GREATEST(expires_ms,m.c+m.ttl) ELSE expires_ms END,
grant_id=IF(fence>last_fence,m.g,grant_id),
last_fence=fence`,

    /**
     * acquire with `from`, or with `ifFence` above 0: these never insert.
     * In: grant id, holder, sealed, retain, ttl, given (0 keeps the stored payload), payload, given,
     * payload_at, ttl, ttl, grant id, ns, k, grant id, grant id, then the fence, and for `from` its grant id.
     * Out: as above.
     */
    acquireUpdate: (on) => `UPDATE ${lease} SET
fence=LAST_INSERT_ID(IF(grant_id=?,fence*4+2,GREATEST(fence+1,${NOW_US})*4)+(payload_at<>0)) DIV 4,
holder=IF(fence>last_fence,?,holder),
sealed=IF(fence>last_fence,?,sealed),
retain_ms=IF(fence>last_fence,?,retain_ms),
purge_ms=IF(fence>last_fence,GREATEST((fence+999) DIV 1000,${NEXT_MS}+?)+retain_ms,purge_ms),
payload_seq=IF(fence>last_fence,0,payload_seq),
payload=IF(fence>last_fence AND ?,?,payload),
payload_at=IF(fence>last_fence AND ?,?,payload_at),
expires_ms=IF(fence>last_fence,${NEXT_MS}+?,GREATEST(expires_ms,${NEXT_MS}+?)),
grant_id=?,
last_fence=fence
WHERE ns=? AND k=? AND ((grant_id=? AND expires_ms>${NOW_MS}) OR (grant_id<>? AND ${
      on === "from"
        ? `fence=? AND grant_id=? AND expires_ms>${NOW_MS}`
        : `fence=? AND sealed=0 AND expires_ms<=${NOW_MS}`
    }))`,

    /**
     * The payload of a row with `payload_at=2`, in the transaction of the step that stored it.
     * In: ns, k, payload. A table of its own, because a renew of a row writes the whole row to the binary log.
     */
    storePayload: `INSERT INTO ${payload} (ns,k,payload) SELECT d.ns,d.k,d.p FROM (SELECT ? AS ns,? AS k,? AS p) d ON DUPLICATE KEY UPDATE payload=d.p`,

    /** One record. In: ns, k. Out: always one row; a server that is read-only may lag, so it says that too. */
    record: (withPayload) =>
      `SELECT ${FIELDS}${withPayload ? ",IF(l.payload_at=2,p.payload,l.payload) AS payload" : ""},${NOW_US} AS now_us,@@global.read_only AS read_only
FROM (SELECT 1 AS one) o LEFT JOIN ${lease} l ON l.ns=? AND l.k=?${withPayload ? ` LEFT JOIN ${payload} p ON l.payload_at=2 AND p.ns=l.ns AND p.k=l.k` : ""}`,

    /** One record as it is now, in a transaction that may have read it before. In: ns, k. */
    recordLocked: `SELECT ${FIELDS},IF(l.payload_at=2,p.payload,l.payload) AS payload,${NOW_US} AS now_us,@@global.read_only AS read_only
FROM ${lease} l LEFT JOIN ${payload} p ON l.payload_at=2 AND p.ns=l.ns AND p.k=l.k WHERE l.ns=? AND l.k=? LOCK IN SHARE MODE`,

    /**
     * renew of requests without payload. In: (ns, k) of each, (ns, k, grant id, fence) of each, then the same
     * four of those with another ttl. Out: insertId = the clock in ms, rounded up, if any row matched.
     * A row locked by a transaction is skipped, not waited for. LIMIT keeps MySQL from merging the subquery
     * (and dropping SKIP LOCKED), FORCE INDEX and STRAIGHT_JOIN from scanning, and so waiting for, other rows.
     */
    renewBatch: (rows, ttlMs, others) => {
      const cases = others.map(
        (one) => `WHEN (l.ns,l.k,l.grant_id,l.fence) IN (${tuples(one.grants, 4)}) THEN ${one.ttlMs}`,
      );
      const ttl = cases.length === 0 ? `${ttlMs}` : `CASE ${cases.join(" ")} ELSE ${ttlMs} END`;
      return `UPDATE (SELECT ns,k FROM ${lease} FORCE INDEX (PRIMARY) WHERE (ns,k) IN (${tuples(rows, 2)}) AND (ns,k,grant_id,fence) IN (${tuples(rows, 4)}) AND expires_ms>${NOW_MS} LIMIT 1000000 FOR UPDATE SKIP LOCKED) d
STRAIGHT_JOIN ${lease} l FORCE INDEX (PRIMARY) ON l.ns=d.ns AND l.k=d.k
SET l.expires_ms=GREATEST(l.expires_ms,LAST_INSERT_ID(${NEXT_MS})+${ttl})`;
    },

    /**
     * renew of one request with payload. In: ns, k, grant id, fence, ttl, seq, payload, seq, payload_at, seq,
     * seq, seq. Out: insertId 2 = renewed and stored, 1 = renewed (an older payload), 0 = read the record.
     */
    renewWithPayload: `UPDATE (SELECT ns,k,expires_ms AS e,payload_seq AS s FROM ${lease} FORCE INDEX (PRIMARY) WHERE ns=? AND k=? AND grant_id=? AND fence=? AND expires_ms>${NOW_MS} LIMIT 1 FOR UPDATE SKIP LOCKED) d
STRAIGHT_JOIN ${lease} l FORCE INDEX (PRIMARY) ON l.ns=d.ns AND l.k=d.k
SET l.expires_ms=GREATEST(d.e,${NEXT_MS}+?),l.payload=IF(d.s<?,?,l.payload),l.payload_at=IF(d.s<?,?,l.payload_at),l.payload_seq=GREATEST(d.s,LAST_INSERT_ID(1+(d.s<?))*0+?)`,

    /** The records that a batch asked for. In: (ns, k) of each. */
    records: (rows) =>
      `SELECT ${FIELDS},${NOW_US} AS now_us,@@global.read_only AS read_only FROM ${lease} l WHERE (l.ns,l.k) IN (${tuples(rows, 2)})`,

    /**
     * release. In: sealed, retain, retain, given (0 keeps the stored payload), payload, given, payload_at, ns,
     * k, grant id, and the fence unless any will do. Out: insertId 1 = released now, 0 = read the record.
     */
    release: (anyFence) =>
      `UPDATE ${lease} SET sealed=?,retain_ms=?,purge_ms=GREATEST(${NEXT_MS},(fence+999) DIV 1000)+?,payload=IF(?,?,payload),payload_at=IF(?,?,payload_at),expires_ms=LAST_INSERT_ID(1)*0 WHERE ns=? AND k=? AND grant_id=?${anyFence ? "" : " AND fence=?"} AND expires_ms<>0`,

    /**
     * overrule of a record that is there. In: whether a held one keeps its end, sealed, retain, retain, given,
     * payload, given, payload_at, grant id, ns, k, grant id, fence, whether it was released when it was read.
     * Out: insertId = the new fence, 0 = read the record.
     */
    overrule: `UPDATE ${lease} SET fence=LAST_INSERT_ID(GREATEST(fence+1,${NOW_US})),last_fence=fence,expires_ms=IF(expires_ms>${NOW_MS} AND ?,expires_ms,0),sealed=?,retain_ms=?,purge_ms=GREATEST((fence+999) DIV 1000,expires_ms)+?,payload=IF(?,?,payload),payload_at=IF(?,?,payload_at),grant_id=? WHERE ns=? AND k=? AND grant_id<>? AND fence=? AND (expires_ms<>0 OR ?)`,

    /**
     * overrule where there was no record. In: ns, k, grant id, sealed, retain, payload_at, payload.
     * Out: insertId = the new fence; error 1062 = there is a record.
     */
    overruleNothing: `INSERT INTO ${lease} (${COLUMNS})
SELECT m.ns,m.k,LAST_INSERT_ID(m.t),m.t,m.g,0,m.sealed,m.retain,m.c+m.retain,'',0,m.pat,m.payload
FROM (SELECT ${NOW_US} AS t,${NEXT_MS} AS c,? AS ns,? AS k,? AS g,? AS sealed,? AS retain,? AS pat,? AS payload) m`,

    /** A page of records. In: what the conditions ask for, then the limit. */
    list: (conditions) =>
      `SELECT ${FIELDS},${NOW_US} AS now_us,@@global.read_only AS read_only FROM ${lease} l WHERE ${conditions.join(" AND ")} ORDER BY l.ns,l.k LIMIT ?`,

    /** Candidates of `prune`. In: limit. Locks nothing: most rows that it passes are somebody's leases. */
    purgeable: `SELECT l.ns,l.k FROM ${lease} l WHERE ${PURGEABLE} ORDER BY l.purge_ms LIMIT ?`,

    /** Deletes candidates that are purgeable still, checked under the row's lock. In: (ns, k) of each. */
    prune: (rows) =>
      `DELETE l,p FROM ${lease} l FORCE INDEX (PRIMARY) LEFT JOIN ${payload} p ON p.ns=l.ns AND p.k=l.k WHERE (l.ns,l.k) IN (${tuples(rows, 2)}) AND ${PURGEABLE}`,

    /** Whether nobody holds the name. In: ns, k. */
    isFree: `SELECT COUNT(*)=0 AS free FROM ${lease} WHERE ns=? AND k=? AND expires_ms>${NOW_MS}`,

    /**
     * Waits for the gate and then looks whether nobody holds the name, as an overrule opens no gate. In: ns, k,
     * gate, gate. Out: answer 1 = the gate opened, 0 = it is shut still; free. One statement, so that who waits
     * sends one in five seconds; the subquery needs the gate's answer, so the record is read after the wait.
     */
    watchGate: (seconds) =>
      `SELECT a.answer,(SELECT COUNT(*)=0 FROM ${lease} WHERE ns=? AND k=? AND expires_ms>${NOW_MS} AND a.answer IS NOT NULL) AS free
FROM (SELECT IF(GET_LOCK(?,${seconds}),RELEASE_LOCK(?),0) AS answer) a`,

    /** Whether a grant is held, locked until the caller's transaction ends. In: ns, k, grant id, fence. */
    verify: `SELECT fence FROM ${lease} WHERE ns=? AND k=? AND grant_id=? AND fence=? AND expires_ms>${NOW_MS} LOCK IN SHARE MODE`,
  };
}
