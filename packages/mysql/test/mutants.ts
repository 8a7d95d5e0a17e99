/** Statements that each break one rule: what is replaced, by what, and which check must find out. */

export type Check = "law" | "locked" | "guarded";

export interface Mutant {
  readonly rule: string;
  readonly from: string | RegExp;
  readonly to: string;
  /** @default "law" */
  readonly check?: Check;
}

const held = / AND expires_ms>\(TIMESTAMPDIFF\([^)]*\(6\)\) DIV 1000\)/;
const heldIn = (statement: string): RegExp => new RegExp(`(${statement}[^]*?)${held.source}`);

export const mutants: readonly Mutant[] = [
  // acquire
  { rule: "a spent grant is not revived", from: "IF(expires_ms>m.t DIV 1000,", to: "IF(1=1," },
  { rule: "a held lease is not taken", from: "WHEN expires_ms<=m.t DIV 1000 AND", to: "WHEN" },
  { rule: "a sealed record is not handed out", from: /`coord_lease`\.sealed=0 AND/, to: "" },
  { rule: "ifFence 0n means no record", from: " AND m.only_new=0", to: "" },
  { rule: "a fence is above the last", from: "GREATEST(fence+1,m.t)*4", to: "m.t*4" },
  {
    rule: "a fence is above the last, by one at least",
    from: "GREATEST(fence+1,m.t)*4",
    to: "GREATEST(fence,m.t)*4",
  },
  { rule: "a fence holds the time", from: "GREATEST(fence+1,m.t)*4", to: "(fence+1)*4" },
  { rule: "a new fence holds the time", from: "LAST_INSERT_ID(m.t*4) DIV 4", to: "LAST_INSERT_ID(4) DIV 4" },
  {
    rule: "the holder is replaced",
    from: "holder=IF(fence>last_fence,m.holder,",
    to: "holder=IF(1=0,m.holder,",
  },
  {
    rule: "a repeat leaves the holder",
    from: "holder=IF(fence>last_fence,m.holder,",
    to: "holder=IF(1=1,m.holder,",
  },
  {
    rule: "a repeat leaves the seal",
    from: "sealed=IF(fence>last_fence,m.sealed,",
    to: "sealed=IF(grant_id=m.g,m.sealed,",
  },
  {
    rule: "a grant seals as asked",
    from: "sealed=IF(fence>last_fence,m.sealed,",
    to: "sealed=IF(1=0,m.sealed,",
  },
  {
    rule: "a grant counts its payloads from 0",
    from: /payload_seq=IF\(fence>last_fence,0,payload_seq\),\npayload=IF\(fence>last_fence AND m/,
    to: "payload=IF(fence>last_fence AND m",
  },
  {
    rule: "a repeat leaves the payload",
    from: /payload=IF\(fence>last_fence AND m\.pat IS NOT NULL,/,
    to: "payload=IF(m.pat IS NOT NULL,",
  },
  {
    rule: "a grant without payload keeps the stored one",
    from: "payload_at=IF(fence>last_fence AND m.pat IS NOT NULL,m.pat,",
    to: "payload_at=IF(fence>last_fence,COALESCE(m.pat,0),",
  },
  { rule: "a repeat says that it is one", from: "LAST_INSERT_ID(fence*4+2+", to: "LAST_INSERT_ID(fence*4+" },
  { rule: "a repeat never shortens", from: "THEN GREATEST(expires_ms,m.c+m.ttl)", to: "THEN m.c+m.ttl" },
  { rule: "a repeat extends", from: "THEN GREATEST(expires_ms,m.c+m.ttl)", to: "THEN expires_ms" },
  {
    rule: "a refusal leaves the end",
    from: "ELSE expires_ms END",
    to: "ELSE GREATEST(expires_ms,m.t DIV 1000) END",
  },
  { rule: "last_fence follows", from: /last_fence=fence$/, to: "last_fence=last_fence" },
  {
    rule: "a purge counts from the fence",
    from: "purge_ms=IF(fence>last_fence,GREATEST((fence+999) DIV 1000,m.c+m.ttl)",
    to: "purge_ms=IF(fence>last_fence,(m.c+m.ttl)",
  },
  {
    rule: "a lease is never shorter than asked",
    from: "+999) DIV 1000) AS c,? AS ns,? AS k,? AS g,? AS ttl",
    to: ") DIV 1000) AS c,? AS ns,? AS k,? AS g,? AS ttl",
  },
  { rule: "ifFence must match", from: "fence=? AND sealed=0", to: "fence+0*?=fence AND sealed=0" },
  { rule: "ifFence does not unseal", from: "fence=? AND sealed=0 AND", to: "fence=? AND" },
  {
    rule: "ifFence does not take a held one",
    from: /fence=\? AND sealed=0 AND expires_ms<=\([^)]*\(6\)\) DIV 1000\)/,
    to: "fence=? AND sealed=0",
  },
  {
    rule: "a hand-over is from a held lease",
    from: /(fence=\? AND grant_id=\?) AND expires_ms>\([^)]*\(6\)\) DIV 1000\)/,
    to: "$1",
  },
  {
    rule: "a hand-over names the fence",
    from: "(grant_id<>? AND fence=? AND grant_id=?",
    to: "(grant_id<>? AND fence>=0*? AND grant_id=?",
  },
  {
    rule: "a hand-over names the grant",
    from: "(grant_id<>? AND fence=? AND grant_id=?",
    to: "(grant_id<>? AND fence=? AND ?<>''",
  },
  // renew
  { rule: "a lapsed lease is not revived", from: heldIn("UPDATE \\(SELECT ns,k FROM"), to: "$1" },
  {
    rule: "a renew names the grant and the fence",
    from: /(\(ns,k,grant_id,fence\) IN \(.*?\)\)) AND expires/,
    to: "($1 OR 1=1) AND expires",
  },
  {
    rule: "a renew never shortens",
    from: "GREATEST(l.expires_ms,LAST_INSERT_ID(",
    to: "GREATEST(0,LAST_INSERT_ID(",
  },
  {
    rule: "a locked record is skipped",
    from: /(SELECT ns,k FROM[^]*)FOR UPDATE SKIP LOCKED/,
    to: "$1FOR UPDATE",
    check: "locked",
  },
  {
    rule: "a lapsed lease is not revived by a save",
    from: heldIn("UPDATE \\(SELECT ns,k,expires_ms AS e"),
    to: "$1",
  },
  {
    rule: "a save names the grant",
    from: /(payload_seq AS s FROM.*)grant_id=\?/,
    to: "$1grant_id IN (?,grant_id)",
  },
  { rule: "a save names the fence", from: /(payload_seq AS s FROM.*)fence=\?/, to: "$1fence>=0*?" },
  { rule: "an older save changes nothing", from: "l.payload=IF(d.s<?,", to: "l.payload=IF(1=1 OR d.s<?," },
  {
    rule: "an older save does not count back",
    from: "GREATEST(d.s,LAST_INSERT_ID",
    to: "GREATEST(0,LAST_INSERT_ID",
  },
  { rule: "a save never shortens", from: "GREATEST(d.e,", to: "GREATEST(0," },
  {
    rule: "a save skips a locked record",
    from: /(AS s FROM[^]*)FOR UPDATE SKIP LOCKED/,
    to: "$1FOR UPDATE",
    check: "locked",
  },
  // release
  { rule: "the first release stands", from: / AND expires_ms<>0$/, to: "" },
  {
    rule: "a release names the grant",
    from: /(expires_ms=LAST_INSERT_ID\(1\)\*0 WHERE ns=\? AND k=\? AND )grant_id=\?/,
    to: "$1grant_id IN (?,grant_id)",
  },
  {
    rule: "a release names the fence",
    from: /AND fence=\? AND expires_ms<>0$/,
    to: "AND fence>=0*? AND expires_ms<>0",
  },
  {
    rule: "a release frees",
    from: "expires_ms=LAST_INSERT_ID(1)*0",
    to: "expires_ms=expires_ms+LAST_INSERT_ID(1)*0",
  },
  {
    rule: "a release without payload keeps the stored one",
    from: /(purge_ms=GREATEST\(\(\([^]*)payload_at=IF\(\?,\?,payload_at\),expires/,
    to: "$1payload_at=IF(?,?,0),expires",
  },
  {
    rule: "a purge counts from the release",
    from: /(SET sealed=\?,retain_ms=\?,purge_ms=)GREATEST\(.*?,\(fence\+999\) DIV 1000\)/,
    to: "$1((fence+999) DIV 1000)",
  },
  // overrule
  {
    rule: "an overrule puts in its own grant",
    from: "grant_id=? WHERE ns=? AND k=? AND grant_id<>?",
    to: "grant_id=IF(1=1,grant_id,?) WHERE ns=? AND k=? AND grant_id<>?",
  },
  {
    rule: "a repeated overrule changes nothing",
    from: "AND grant_id<>? AND fence=?",
    to: "AND ''<>? AND fence=?",
  },
  {
    rule: "an overrule raises the fence",
    from: /LAST_INSERT_ID\(GREATEST\(fence\+1,/,
    to: "LAST_INSERT_ID(GREATEST(fence,",
  },
  {
    rule: "an overrule names the fence",
    from: "AND fence=? AND (expires_ms<>0 OR ?)",
    to: "AND fence>=0*? AND (expires_ms<>0 OR ?)",
  },
  { rule: "an overrule sees a release since", from: "AND (expires_ms<>0 OR ?)", to: "AND (1=1 OR ?)" },
  {
    rule: "an overrule leaves a held one its end",
    from: /IF\(expires_ms>\([^]*?\) AND \?,expires_ms,0\)/,
    to: "IF(1=0 AND ?,expires_ms,0)",
  },
  {
    rule: "an overrule frees at once where asked",
    from: /IF\((expires_ms>\([^]*?\)) AND \?,expires_ms,0\)/,
    to: "IF($1 OR ?,expires_ms,0)",
  },
  { rule: "an overrule of nothing is free", from: "m.g,0,m.sealed", to: "m.g,m.c,m.sealed" },
  // clean-up and reading
  {
    rule: "a sealed unreleased record is not purged",
    from: /l\.sealed=0 AND l\.expires_ms</g,
    to: "l.expires_ms<",
  },
  {
    rule: "a renewed lease is not purged by its first time",
    from: /l\.expires_ms\+l\.retain_ms</g,
    to: "0*l.expires_ms<",
  },
  { rule: "nothing is purged before its time", from: /WHERE l\.purge_ms<|AND l\.purge_ms</g, to: "$&60000+" },
  { rule: "lapsed is not free", from: "l.expires_ms<>0 AND l.expires_ms<=", to: "l.expires_ms<=" },
  { rule: "a page is in the order of keys", from: "ORDER BY l.ns,l.k LIMIT", to: "ORDER BY l.fence LIMIT" },
  {
    rule: "a large payload is read from its table",
    from: "IF(l.payload_at=2,p.payload,l.payload)",
    to: "l.payload",
  },
  {
    rule: "a large payload replaces the last one",
    from: "ON DUPLICATE KEY UPDATE payload=d.p",
    to: "ON DUPLICATE KEY UPDATE payload=`coord_payload`.payload",
  },
  // transactions of others
  { rule: "verify makes a takeover wait", from: " LOCK IN SHARE MODE", to: "", check: "guarded" },
  { rule: "verify is for a held lease", from: heldIn("^SELECT fence FROM"), to: "$1", check: "guarded" },
  {
    rule: "verify names the grant",
    from: /^(SELECT fence FROM .*)grant_id=\?/,
    to: "$1grant_id IN (?,grant_id)",
    check: "guarded",
  },
];
