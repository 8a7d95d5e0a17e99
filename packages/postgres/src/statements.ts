/**
 * The statements. Each is one autocommit round trip at READ COMMITTED, and one statement so that the verdict, the
 * fence and the grant are one atomic step on the newest version of one row.
 *
 * Inputs are `$1` namespace and `$2` key unless a header says otherwise. Times leave as microseconds since 1970
 * (DateStyle breaks the parsing of timestamps), bigints as text (a driver may round numbers above 2^53).
 *
 * No row from `acquire` or `overrule`, or `again` from `released`, means undecided: the statement met a change that
 * is younger than its snapshot and wrote nothing, so it is sent again at once.
 */
import { createHash } from "node:crypto";
import type { ListRequest } from "@coord/core";

export interface Statement {
  /** Prepared under this name; made from the text, so two layouts never share a name behind a pooler. */
  readonly name: string;
  readonly text: string;
}

export interface Statements {
  readonly acquire: Statement;
  readonly renew: Statement;
  readonly release: Statement;
  readonly released: Statement;
  readonly inspect: Statement;
  readonly overrule: Statement;
  readonly prune: Statement;
  readonly guard: Statement;
  readonly arm: Statement;
  list(request: ListRequest): { readonly statement: Statement; readonly values: readonly unknown[] };
}

const fields = [
  "fence",
  "grant_id",
  "holder",
  "sealed",
  "payload",
  "payload_seq",
  "retain_ms",
  "expires_at",
  "purge_at",
];
const record = fields.join(", ");
const leaseRecord = fields.map((field) => `l.${field}`).join(", ");
const now = "clock_timestamp()";
const row = "namespace = $1 AND key = $2";
const us = (time: string): string => `date_part('epoch', ${time}) * 1e6`;
const answer = `fence::text AS fence, grant_id, holder, sealed, payload_seq::float8 AS payload_seq,
  retain_ms::float8 AS retain_ms, ${us("expires_at")} AS expires_us, ${us("purge_at")} AS purge_us, ${us("t")} AS now_us`;

/** When the new version of a record may be purged: never while held, nor while sealed and unreleased. */
const purgeAt = `CASE WHEN NOT n.sealed OR n.expires_at = 'epoch' THEN
    greatest(n.t, n.expires_at, timestamptz 'epoch' + n.fence * interval '1 us') + n.retain_ms * interval '1 ms' END`;
const nextFence = `greatest(fence + 1, (${us("t")})::bigint)`;

/** Bounds the wait for a row lock in the server too, in milliseconds, for this statement alone. */
const patience = (parameter: string): string =>
  `CASE WHEN ${parameter}::text IS NOT NULL THEN set_config('lock_timeout', ${parameter}::text, true) END AS patience`;

/** A statement under a name that no other text has. */
export function named(operation: string, text: string): Statement {
  const digest = createHash("sha256").update(text).digest("hex").slice(0, 16);
  return { name: `coord_${operation}_${digest}`, text };
}

/**
 * The head of acquire and overrule. `seen`: a hopeless attempt ends at the snapshot, without lock or WAL. `old`:
 * waits for the lock and returns the newest version, so a loser gets the winner's record; its condition is not about
 * the row itself, else it would be checked again after the wait and drop the row. The clock is read outside the
 * locking subquery: after the wait. FOR UPDATE, because only that waits for a guard's KEY SHARE.
 */
const look = (lease: string, verdict: string, lockTimeout: string): string => `WITH seen AS (
  SELECT x.*, ${verdict} AS v
  FROM (SELECT ${record}, t FROM (SELECT ${now} AS t, ${patience(lockTimeout)}) c LEFT JOIN ${lease} ON ${row}) x
), old AS (
  SELECT x.*, ${verdict} AS v FROM (SELECT r.*, ${now} AS t FROM (
    SELECT ${record} FROM ${lease} WHERE ${row} AND (SELECT v FROM seen) IN ('go', 'again') FOR UPDATE) r) x
), todo AS (
  SELECT ${record}, t FROM old WHERE v = 'go' UNION ALL SELECT ${record}, t FROM seen WHERE v = 'new'
)`;

/** A first record; the loser of a race for a new key gets no row: undecided. */
const born = (lease: string, grantId: string): string => `born AS (
  INSERT INTO ${lease} (namespace, key, ${record})
  SELECT $1, $2, n.fence, ${grantId}, n.holder, n.sealed, n.payload, n.payload_seq, n.retain_ms, n.expires_at, ${purgeAt}
  FROM next n WHERE (SELECT v FROM seen) = 'new'
  ON CONFLICT (namespace, key) DO NOTHING RETURNING ${record}, (SELECT t FROM seen) AS t
)`;

/**
 * $3 grantId, $4 holder, $5 ttlMs, $6 sealed, $7 payload or null, $8 retainMs or null, $9 from.grantId or null,
 * $10 from.fence, else ifFence or null, $11 withPayload, $12 lock timeout.
 * Answers one row: `reason` null = granted; `fence` null = there is no record.
 */
function acquire(lease: string): string {
  const verdict = `CASE
    WHEN fence IS NULL THEN CASE WHEN $9::text IS NULL AND coalesce($10::bigint, 0) = 0 THEN 'new' ELSE 'moved' END
    WHEN grant_id = $3 THEN CASE WHEN expires_at > t THEN 'again' ELSE 'spent' END
    WHEN $9::text IS NOT NULL THEN CASE WHEN expires_at > t AND grant_id = $9 AND fence = $10 THEN 'go' ELSE 'moved' END
    WHEN expires_at > t THEN 'held' WHEN sealed THEN 'sealed' WHEN fence <> $10 THEN 'moved' ELSE 'go' END`;
  return `${look(lease, verdict, "$12")}, next AS (
  SELECT fence, holder, sealed, payload, payload_seq, retain_ms, t,
    greatest(expires_at, t + $5::float8 * interval '1 ms') AS expires_at
  FROM old WHERE v = 'again'
  UNION ALL
  SELECT ${nextFence}, $4::text, $6::boolean, coalesce($7::text, payload), 0, $8::bigint, t,
    t + $5::float8 * interval '1 ms' FROM todo
), taken AS (
  UPDATE ${lease} l SET fence = n.fence, grant_id = $3, holder = n.holder, sealed = n.sealed, payload = n.payload,
    payload_seq = n.payload_seq, retain_ms = n.retain_ms, expires_at = n.expires_at, purge_at = ${purgeAt}
  FROM next n WHERE ${row} RETURNING ${leaseRecord}, t
), ${born(lease, "$3")}
SELECT reason, ${answer}, CASE WHEN reason IS NULL OR $11::boolean THEN payload END AS payload
FROM (SELECT NULL::text AS reason, * FROM taken UNION ALL SELECT NULL, * FROM born
  UNION ALL SELECT v, ${record}, t FROM old WHERE v NOT IN ('go', 'again')
  UNION ALL SELECT v, ${record}, t FROM seen WHERE v NOT IN ('go', 'again', 'new')) a`;
}

/**
 * Arrays: $1 namespace, $2 key, $3 grantId, $4 fence, $5 ttlMs, $6 payload, $7 payloadSeq (both null = keep); no name
 * twice. Answers `i` (from 1) with `renewed` or `unknown` (ours, but locked this moment); one not there is lost.
 */
const renew = (lease: string): string => `WITH q AS (
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::float8[], $6::text[], $7::bigint[])
    WITH ORDINALITY AS q (namespace, key, grant_id, fence, ttl_ms, new_payload, new_seq, i)
), mine AS (
  SELECT i, namespace, key, fence, sealed, retain_ms, ${now} AS t, new_payload, new_seq,
    greatest(expires_at, ${now} + ttl_ms * interval '1 ms') AS expires_at
  FROM q JOIN ${lease} l USING (namespace, key, grant_id, fence) WHERE l.expires_at > ${now}
  FOR NO KEY UPDATE OF l SKIP LOCKED
), done AS (
  UPDATE ${lease} l SET expires_at = n.expires_at, purge_at = ${purgeAt},
    payload_seq = greatest(payload_seq, new_seq),
    payload = CASE WHEN new_seq > payload_seq THEN new_payload ELSE payload END
  FROM mine n WHERE l.namespace = n.namespace AND l.key = n.key RETURNING i
)
SELECT i::int, 'renewed' AS outcome FROM done UNION ALL
SELECT i::int, 'unknown' FROM q JOIN ${lease} USING (namespace, key, grant_id, fence)
WHERE expires_at > ${now} AND i NOT IN (SELECT i FROM done)`;

/**
 * $3 grantId, $4 fence or null, $5 sealed, $6 payload or null, $7 retainMs or null, $8 channel, $9 message,
 * $10 lock timeout or null. Answers a row if it released. An ended grant is not touched: the first release stands.
 */
const release = (lease: string, answers: string): string => `UPDATE ${lease} SET expires_at = 'epoch',
    sealed = $5::boolean, payload = coalesce($6::text, payload), retain_ms = $7::bigint,
    purge_at = greatest(t, timestamptz 'epoch' + fence * interval '1 us') + $7::bigint * interval '1 ms'
  FROM (SELECT ${now} AS t, ${patience("$10")}) c
  WHERE ${row} AND grant_id = $3 AND fence = coalesce($4::bigint, fence) AND expires_at > 'epoch'
  RETURNING ${answers}, CASE WHEN wanted_until > t THEN pg_notify($8, $9) END AS told`;

/** As `release`, and where that hits nothing, the record of this grant as it stands; no row = lost. */
const released = (lease: string): string => `WITH hit AS (
  ${release(lease, `${record}, t`)}
)
SELECT again, ${answer}, payload FROM (SELECT NULL AS again, ${record}, t FROM hit
  UNION ALL SELECT expires_at > 'epoch', ${record}, ${now} FROM ${lease}
  WHERE ${row} AND grant_id = $3 AND fence = coalesce($4::bigint, fence) AND NOT EXISTS (SELECT FROM hit)) a`;

/** `standby`: a replica lags, so its answer is none. */
const inspect = (
  lease: string,
): string => `SELECT key IS NOT NULL AS found, ${answer}, payload, pg_is_in_recovery() AS standby
FROM (SELECT ${now} AS t) c LEFT JOIN ${lease} ON ${row}`;

/**
 * $3 grantId, $4 fence, $5 released, $6 sealed, $7 payload or null, $8 retainMs or null, $9 now, $10 channel,
 * $11 message, $12 lock timeout. Answers one row; `moved` with `fence` null = there is no record.
 */
function overrule(lease: string): string {
  const verdict = `CASE WHEN fence IS NULL THEN CASE WHEN $4::bigint = 0 THEN 'new' ELSE 'moved' END
    WHEN grant_id = $3 THEN 'overruled'
    WHEN fence <> $4::bigint OR (expires_at = 'epoch' AND NOT $5::boolean) THEN 'moved' ELSE 'go' END`;
  return `${look(lease, verdict, "$12")}, next AS (
  SELECT ${nextFence} AS fence, coalesce(holder, '') AS holder, $6::boolean AS sealed,
    coalesce($7::text, payload) AS payload, coalesce(payload_seq, 0) AS payload_seq, $8::bigint AS retain_ms, t,
    CASE WHEN expires_at > t AND NOT $6 AND NOT $9::boolean THEN expires_at ELSE 'epoch' END AS expires_at FROM todo
), done AS (
  UPDATE ${lease} l SET fence = n.fence, grant_id = $3, sealed = n.sealed, payload = n.payload,
    retain_ms = n.retain_ms, expires_at = n.expires_at, purge_at = ${purgeAt}
  FROM next n WHERE ${row}
  RETURNING ${leaseRecord}, t, CASE WHEN l.expires_at = 'epoch' AND wanted_until > t THEN pg_notify($10, $11) END
), ${born(lease, "$3")}
SELECT outcome, ${answer}, payload
FROM (SELECT 'overruled' AS outcome, ${record}, t FROM done UNION ALL SELECT 'overruled', * FROM born
  UNION ALL SELECT v, ${record}, t FROM old WHERE v <> 'go'
  UNION ALL SELECT v, ${record}, t FROM seen WHERE v NOT IN ('go', 'new')) a`;
}

/**
 * $1 limit. The volatile clock is no index condition, `(SELECT …)` is; the lock checks the newest version again. A
 * record that somebody waits for stays, so that its mark is not lost.
 */
const prune = (lease: string): string => `WITH done AS (
  SELECT namespace, key FROM ${lease} WHERE purge_hour <= (SELECT ${now})
    AND purge_at < ${now} AND expires_at <= ${now} AND coalesce(wanted_until, 'epoch') <= ${now}
  ORDER BY purge_hour LIMIT $1::bigint FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM ${lease} l USING done d WHERE l.namespace = d.namespace AND l.key = d.key RETURNING 1
)
SELECT count(*)::int AS pruned FROM gone`;

/**
 * $3 grantId, $4 fence. Answers a row if the grant is held. Until the transaction ends, takeover and overrule wait and
 * clean-up skips the row, even if the lease lapses. KEY SHARE lets the holder's own renewals pass.
 */
const guard = (lease: string): string =>
  `SELECT 1 AS held FROM ${lease} WHERE ${row} AND grant_id = $3 AND fence = $4::bigint AND expires_at > ${now} FOR KEY SHARE`;

/**
 * $3 how long the mark counts in milliseconds, $4 lock timeout. Marks that somebody waits; answers `held`, or no row.
 * A mark that is fresh enough is not written again, and then `held` is from the same snapshot as the mark: a release
 * after it sees the mark and notifies. (An UPDATE followed by a read of its own snapshot would miss a release.)
 */
const arm = (lease: string): string => `WITH seen AS (
  SELECT expires_at > ${now} AS held, ${patience("$4")},
    coalesce(wanted_until < ${now} + $3::float8 * interval '0.5 ms', true) AS stale FROM ${lease} WHERE ${row}
), marked AS (
  UPDATE ${lease} SET wanted_until = ${now} + $3::float8 * interval '1 ms'
  WHERE ${row} AND (SELECT stale FROM seen) RETURNING expires_at > ${now} AS held
)
SELECT held FROM marked UNION ALL SELECT held FROM seen WHERE NOT stale`;

const states = {
  held: "expires_at > t",
  free: "expires_at = 'epoch'",
  lapsed: "expires_at <= t AND expires_at > 'epoch'",
};

/** The first text after all that start with `prefix` in the order of UTF-8 bytes; undefined when there is none. */
export function endOfPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    if (last === 0x10_ff_ff) continue;
    const next = last === 0xd7_ff ? 0xe0_00 : last + 1;
    return String.fromCodePoint(...points, next);
  }
  return undefined;
}

/** What is not asked for is left out, so that the key range is always the index condition. No LIKE: no wildcards. */
function list(lease: string, request: ListRequest): { statement: Statement; values: readonly unknown[] } {
  const { namespace, prefix, after, limit, sealed, state } = request;
  const values: unknown[] = [namespace, limit];
  const parameter = (value: unknown): string => `$${values.push(value)}`;
  const end = endOfPrefix(prefix);
  const isPaged = after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(prefix)) >= 0;
  const conditions = [
    "namespace = $1",
    isPaged ? `key > ${parameter(after)}` : `key >= ${parameter(prefix)}`,
    ...(end === undefined ? [] : [`key < ${parameter(end)}`]),
    ...(sealed === undefined ? [] : [`sealed = ${parameter(sealed)}::boolean`]),
    ...(state === undefined ? [] : [states[state]]),
  ];
  const text = `WITH c AS (SELECT ${now} AS t)
SELECT key, ${answer}, pg_is_in_recovery() AS standby FROM ${lease}, c
WHERE ${conditions.join(" AND ")} ORDER BY key LIMIT $2::bigint`;
  return { statement: named("list", text), values };
}

/** All statements for one table, given as a quoted and qualified name. */
export function statementsFor(lease: string): Statements {
  return {
    acquire: named("acquire", acquire(lease)),
    renew: named("renew", renew(lease)),
    release: named("release", release(lease, "1 AS released")),
    released: named("released", released(lease)),
    inspect: named("inspect", inspect(lease)),
    overrule: named("overrule", overrule(lease)),
    prune: named("prune", prune(lease)),
    guard: named("guard", guard(lease)),
    arm: named("arm", arm(lease)),
    list: (request) => list(lease, request),
  };
}
