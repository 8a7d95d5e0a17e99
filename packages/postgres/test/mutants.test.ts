import assert from "node:assert/strict";
import { cases, runCase } from "@coord/conformance";
import { isCoordError } from "@coord/core";
import { start } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { postgresHarness } from "./conformance-harness.ts";
import { acquireRequest, call, freshName, releaseRequest, rewriting } from "./harness.ts";
import { oneFence, oneWinner, repeat } from "./races.ts";

type Change = (text: string) => string;
type Check = (change: Change) => Promise<void>;

const server = await start("postgres", { settings: { max_connections: "200" } });
const admin = new pg.Pool({ connectionString: server.url, max: 30 });
admin.on("error", () => {});
/** Nobody kills a server that others use. */
const { faults: _faults, ...calm } = server;
await postgresBackend({ client: admin, listen: false }).setup(call());
afterAll(async () => {
  await admin.end();
  await server.stop();
});

const changed = (change: Change) => postgresBackend({ client: rewriting(admin, change), listen: false });

/** Until the transaction that verified ends, nobody takes the lapsed lease; and a released one is not verified. */
const guarded: Check = async (change) => {
  const backend = changed(change);
  const name = freshName();
  const request = acquireRequest(name, { ttlMs: 300 });
  const result = await backend.acquire(request, call());
  assert.ok(result.outcome === "granted");
  const grant = { name, grantId: request.grantId, fence: result.fence };
  const client = await admin.connect();
  const within = backend.within((text, values) => client.query(change(text), values));
  await client.query("BEGIN");
  try {
    await within.verify({ grant });
    await new Promise((resolve) => setTimeout(resolve, 350));
    const takeover = backend.acquire(acquireRequest(name), call());
    const pause = new Promise((resolve) => setTimeout(resolve, 300, "waits"));
    assert.equal(await Promise.race([takeover.then(() => "taken over"), pause]), "waits");
    await client.query("COMMIT");
    assert.equal((await takeover).outcome, "granted");
  } finally {
    await client.query("ROLLBACK");
    client.release();
  }
};
/** A grant that had to wait for a row lock has its full ttl. */
const fullTtl: Check = async (change) => {
  const backend = changed(change);
  const name = freshName();
  await backend.acquire(acquireRequest(name, { ttlMs: 1 }), call());
  const client = await admin.connect();
  await client.query("BEGIN");
  await client.query("SELECT FROM coord.lease WHERE namespace = $1 FOR UPDATE", [name.namespace]);
  const waiting = backend.acquire(acquireRequest(name, { ttlMs: 60_000 }), call());
  await new Promise((resolve) => setTimeout(resolve, 700));
  const { rows } = await client.query("SELECT date_part('epoch', clock_timestamp()) * 1000 AS now_ms");
  await client.query("COMMIT");
  client.release();
  assert.equal((await waiting).outcome, "granted");
  const seen = await backend.inspect(name, call());
  assert.ok(seen !== null && seen.expiresAt >= rows[0].now_ms + 60_000, "the wait was taken from the ttl");
};
const verifiesHeldOnly: Check = async (change) => {
  const backend = changed(change);
  const request = acquireRequest(freshName());
  const result = await backend.acquire(request, call());
  assert.ok(result.outcome === "granted");
  const grant = { name: request.name, grantId: request.grantId, fence: result.fence };
  await backend.release(releaseRequest(grant), call());
  const within = backend.within((text, values) => admin.query(change(text), values));
  await assert.rejects(within.verify({ grant }), (error) => isCoordError(error, "COORD_LEASE_LOST"));
};
const oneOfMany: Check = (change) => repeat(20, () => oneWinner(changed(change), "released"));
const oneOfCopies: Check = (change) => repeat(20, () => oneFence(changed(change)));

/** A case of the conformance suite, by its id. */
const suite =
  (id: string): Check =>
  async (mutate) => {
    const one = cases.find((each) => each.id === id);
    assert.ok(one, `there is no case ${id}`);
    const harness = postgresHarness(calm, admin, { name: "mutant", mutate, seed: 7 });
    const reason = await runCase({ ...harness, timing: { callMs: 2500, caseMs: 20_000 } }, one);
    // A case that does not run proves nothing.
    if (reason !== undefined) throw new Error(`${id} was skipped: ${reason}`);
  };

const now = "clock_timestamp()";
const fence = "greatest(fence + 1, (date_part('epoch', t) * 1e6)::bigint)";
const mine = "grant_id = $3 AND fence = coalesce($4::bigint, fence)";

/** What is broken, the text and its replacement, and who must find it. */
const mutants: readonly (readonly [string, string | RegExp, string, Check])[] = [
  [
    "acquire: the fence of a grant stays",
    `${fence}, $4`,
    "coalesce(fence, 1), $4",
    suite("fences/rise-over-everything"),
  ],
  [
    "acquire: the fence is the clock alone",
    `${fence}, $4`,
    "(date_part('epoch', t) * 1e6)::bigint, $4",
    suite("fences/far-ahead"),
  ],
  [
    "acquire: the fence is a counter alone",
    `${fence}, $4`,
    "coalesce(fence + 1, 1), $4",
    suite("fences/from-the-clock"),
  ],
  [
    "acquire: the seal is ignored",
    "WHEN sealed THEN 'sealed' ",
    "",
    suite("sealing-and-payload/sealed-refuses"),
  ],
  [
    "acquire: a held lease is granted",
    "WHEN expires_at > t THEN 'held' ",
    "",
    suite("expiry/takeover-not-before"),
  ],
  ["acquire: ifFence is ignored", "WHEN fence <> $10 THEN 'moved' ", "", suite("granting/if-fence")],
  [
    "acquire: ifFence is ignored without a record",
    "AND coalesce($10::bigint, 0) = 0 THEN 'new'",
    "AND $10::bigint IS NOT DISTINCT FROM $10 THEN 'new'",
    suite("granting/if-fence-zero"),
  ],
  [
    "acquire: a spent grant id is granted again",
    "THEN 'again' ELSE 'spent' END",
    "THEN 'again' ELSE 'go' END",
    suite("granting/spent-after-lapse"),
  ],
  [
    "acquire: a repeat shortens the expiry",
    "greatest(expires_at, t + $5::float8 * interval '1 ms')",
    "t + $5::float8 * interval '1 ms'",
    suite("granting/granted-again-expiry"),
  ],
  [
    "acquire: a repeat is a new grant",
    "WHEN grant_id = $3 THEN CASE WHEN expires_at > t THEN 'again'",
    "WHEN grant_id = $3 THEN CASE WHEN expires_at > t THEN 'go'",
    oneOfCopies,
  ],
  [
    "acquire: a lapsed lease is handed over",
    "expires_at > t AND grant_id = $9",
    "grant_id = $9",
    suite("granting/hand-over-lapsed"),
  ],
  [
    "acquire: a hand-over ignores the fence",
    "AND fence = $10 THEN 'go'",
    "AND $10 IS NOT NULL THEN 'go'",
    suite("granting/hand-over-once"),
  ],
  [
    "acquire: the payload is lost",
    "coalesce($7::text, payload), 0,",
    "$7::text, 0,",
    suite("granting/payload-kept-or-replaced"),
  ],
  [
    "acquire: a refusal drags the payload along",
    "OR $11::boolean THEN payload",
    "OR $11::boolean IS NOT NULL THEN payload",
    suite("granting/refused-carries-record"),
  ],
  ["acquire: no lock between look and write", "FOR UPDATE) r", ") r", oneOfMany],
  ["acquire: a lock that passes the guard", "FOR UPDATE) r", "FOR NO KEY UPDATE) r", guarded],
  [
    "acquire: the clock is read before the wait",
    `SELECT r.*, ${now} AS t`,
    "SELECT r.*, (SELECT t FROM seen) AS t",
    fullTtl,
  ],
  [
    "renew: a lapsed lease is revived",
    `WHERE l.expires_at > ${now}\n  FOR`,
    "FOR",
    suite("renewing/lost-after-lapse"),
  ],
  [
    "renew: waits for a locked record",
    " SKIP LOCKED\n), done",
    "\n), done",
    suite("renewing/locked-is-unknown"),
  ],
  [
    "renew: a locked record is lost",
    " AND i NOT IN (SELECT i FROM done)",
    " AND false",
    suite("renewing/locked-is-unknown"),
  ],
  [
    "renew: shortens the expiry",
    `greatest(expires_at, ${now} + ttl_ms * interval '1 ms')`,
    `${now} + ttl_ms * interval '1 ms'`,
    suite("renewing/never-shortens"),
  ],
  [
    "renew: another grant is renewed",
    "USING (namespace, key, grant_id, fence)",
    "USING (namespace, key, fence)",
    suite("renewing/grant-and-fence"),
  ],
  [
    "renew: another fence is renewed",
    /fence, sealed, retain_ms, (clock[^]*?)USING \(namespace, key, grant_id, fence\)/,
    "l.fence, sealed, retain_ms, $1USING (namespace, key, grant_id)",
    suite("renewing/grant-and-fence"),
  ],
  [
    "renew: a late payload is stored",
    "CASE WHEN new_seq > payload_seq THEN",
    "CASE WHEN new_seq IS NOT NULL THEN",
    suite("renewing/payload-late"),
  ],
  [
    "renew: payloadSeq stays",
    "payload_seq = greatest(payload_seq, new_seq)",
    "payload_seq = payload_seq",
    suite("renewing/payload-late"),
  ],
  [
    "renew: purgeAt stays",
    /SET expires_at = n\.expires_at, purge_at = CASE[^]*? END,/,
    "SET expires_at = n.expires_at,",
    suite("sealing-and-payload/purge-at"),
  ],
  [
    "release: any grant is released",
    `AND ${mine}`,
    "AND $3::text IS NOT NULL AND fence = coalesce($4::bigint, fence)",
    suite("releasing/grant-and-fence"),
  ],
  [
    "release: any fence is released",
    `AND ${mine}`,
    "AND grant_id = $3 AND $4::bigint IS NOT DISTINCT FROM $4",
    suite("releasing/grant-and-fence"),
  ],
  [
    "release: the last release stands",
    `AND ${mine} AND expires_at > 'epoch'`,
    `AND ${mine}`,
    suite("releasing/first-stands"),
  ],
  [
    "release: does not unseal",
    "sealed = $5::boolean",
    "sealed = sealed OR $5::boolean",
    suite("releasing/unseals"),
  ],
  [
    "release: nothing is purged",
    /purge_at = greatest\(t, [^]*?\) \+ \$7::bigint/,
    "purge_at = NULL::timestamptz + $7::bigint",
    suite("sealing-and-payload/purge-at"),
  ],
  [
    "release: tells nobody",
    "WHEN wanted_until > t THEN pg_notify($8, $9)",
    "WHEN false THEN pg_notify($8, $9)",
    suite("waking/by-release"),
  ],
  [
    "overrule: a release since the reading is ignored",
    "OR (expires_at = 'epoch' AND NOT $5::boolean)",
    "OR $5::boolean IS NULL",
    suite("overruling/moved-by-release"),
  ],
  [
    "overrule: another fence is overruled",
    "WHEN fence <> $4::bigint OR",
    "WHEN",
    suite("overruling/moved-by-fence"),
  ],
  [
    "overrule: a held record is free at once",
    "CASE WHEN expires_at > t AND NOT $6",
    "CASE WHEN false AND NOT $6",
    suite("overruling/waits-for-the-old-expiry"),
  ],
  [
    "overrule: now does not free",
    "AND NOT $9::boolean THEN",
    "AND $9::boolean IS NOT NULL THEN",
    suite("overruling/now-frees"),
  ],
  [
    "overrule: the old grant id stays",
    "SET fence = n.fence, grant_id = $3, sealed = n.sealed, payload = n.payload,\n    retain_ms",
    "SET fence = n.fence, sealed = n.sealed, payload = n.payload, retain_ms",
    suite("overruling/repeated"),
  ],
  [
    "overrule: the fence stays",
    `SELECT ${fence} AS fence`,
    "SELECT coalesce(fence, 1) AS fence",
    suite("overruling/raises-the-fence"),
  ],
  [
    "overrule: tells nobody",
    "AND wanted_until > t THEN pg_notify($10, $11)",
    "AND false THEN pg_notify($10, $11)",
    suite("waking/by-overrule"),
  ],
  [
    "purge: a sealed record has a time",
    "CASE WHEN NOT n.sealed OR n.expires_at = 'epoch' THEN",
    "CASE WHEN true THEN",
    suite("sealing-and-payload/kept-while-sealed"),
  ],
  [
    "purge: the fence's instant is ignored",
    /, timestamptz 'epoch' \+ (?:n\.)?fence \* interval '1 us'\)/,
    ")",
    suite("fences/far-ahead-kept"),
  ],
  [
    "purge: by the hour, too early",
    `AND purge_at < ${now} AND`,
    "AND",
    suite("sealing-and-payload/purged-on-time"),
  ],
  [
    "purge: the limit is ignored",
    "LIMIT $1::bigint FOR",
    "LIMIT $1::bigint + 100 FOR",
    suite("sealing-and-payload/purge-limit"),
  ],
  [
    "list: in the order of a language",
    "ORDER BY key LIMIT",
    'ORDER BY key COLLATE "en-x-icu" LIMIT',
    suite("reading/order-by-bytes"),
  ],
  [
    "list: free counts as lapsed",
    "expires_at <= t AND expires_at > 'epoch'",
    "expires_at <= t",
    suite("reading/states-told-apart"),
  ],
  ["list: after is included", "key > $3", "key >= $3", suite("reading/after-is-exclusive")],
  ["guard: takes no lock", " FOR KEY SHARE", "", guarded],
  [
    "guard: a released lease is verified",
    ` AND expires_at > ${now} FOR KEY SHARE`,
    " FOR KEY SHARE",
    verifiesHeldOnly,
  ],
  [
    "arm: leaves no mark",
    /SET wanted_until = clock_timestamp\(\) \+ \$3::float8/,
    "SET wanted_until = NULL::timestamptz + $3::float8",
    suite("waking/by-release"),
  ],
];

test("the unchanged statements pass every check that a mutant must fail", async () => {
  for (const check of new Set([guarded, fullTtl, verifiesHeldOnly, oneOfMany, oneOfCopies]))
    await check((text) => text);
  expect(mutants.length).toBeGreaterThan(20);
}, 60_000);

test.each(mutants)(
  "%s: found",
  async (_, from, to, check) => {
    let isMatched = false;
    const change: Change = (text) => {
      const after = typeof from === "string" ? text.replaceAll(from, () => to) : text.replace(from, to);
      isMatched ||= after !== text;
      return after;
    };
    const error: unknown = await check(change).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(isMatched, "the changed text is sent").toBe(true);
    expect(error, "a mutant that survives").toBeInstanceOf(Error);
    // A statement that PostgreSQL does not take, or a case that is skipped, proves nothing.
    expect(error).not.toMatchObject({
      code: expect.stringMatching(/COORD_(?:CONFIGURATION|NOT_SET_UP|INVALID_ARGUMENT)/),
    });
    expect(String(error)).not.toContain("was skipped");
  },
  60_000,
);
