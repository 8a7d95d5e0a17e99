import { describe, expect, it } from "vitest";
import type {
  AcquireRequest,
  LeaseRecord,
  OverruleRequest,
  ReleaseRequest,
  RenewRequest,
} from "../src/backend.ts";
import { acquire, isPurgeable, overrule, release, renew, view } from "../src/record.ts";

const name = { namespace: "n", key: "l\u001Fk" };
const us = (ms: number): bigint => BigInt(ms) * 1000n;
const now = 1_000_000;

const record = (change: Partial<LeaseRecord> = {}): LeaseRecord => ({
  ...name,
  fence: 7n,
  grantId: "A",
  holder: "host:1",
  expiresAt: now + 500,
  sealed: false,
  payload: "old",
  payloadSeq: 2,
  retainMs: 60_000,
  purgeAt: now + 60_500,
  ...change,
});
const lapsed = (change: Partial<LeaseRecord> = {}): LeaseRecord => record({ expiresAt: now - 1, ...change });
const released = (change: Partial<LeaseRecord> = {}): LeaseRecord => record({ expiresAt: 0, ...change });

const claim = (change: Partial<AcquireRequest> = {}): AcquireRequest => ({
  name,
  grantId: "B",
  holder: "host:2",
  ttlMs: 1000,
  sealed: false,
  retainMs: 60_000,
  ...change,
});

describe("acquire", () => {
  const granted: [string, LeaseRecord | null, Partial<AcquireRequest>][] = [
    ["a new name", null, {}],
    ["a released name", released(), {}],
    ["a lapsed name", lapsed(), {}],
    ["a new name with ifFence 0n", null, { ifFence: 0n }],
    ["a lapsed name at the fence asked for", lapsed(), { ifFence: 7n }],
    ["a lease handed over by its holder", record(), { from: { grantId: "A", fence: 7n } }],
    [
      "a sealed lease handed over by its holder",
      record({ sealed: true }),
      { from: { grantId: "A", fence: 7n } },
    ],
  ];
  it.each(granted)("grants %s", (_, before, change) => {
    const { record: after, result } = acquire(before, claim(change), us(now));
    expect(result).toMatchObject({ outcome: "granted", fence: us(now) });
    expect(after).toMatchObject({
      grantId: "B",
      holder: "host:2",
      expiresAt: now + 1000,
      payloadSeq: 0,
      sealed: false,
    });
  });

  const refused: [string, string, LeaseRecord | null, Partial<AcquireRequest>][] = [
    ["held", "a held name", record(), {}],
    ["sealed", "a sealed name after it lapsed", lapsed({ sealed: true }), {}],
    ["sealed", "a sealed name after its release", released({ sealed: true }), {}],
    ["moved", "another fence than asked for", lapsed(), { ifFence: 6n }],
    ["moved", "any record with ifFence 0n", released(), { ifFence: 0n }],
    ["moved", "a missing record with ifFence", null, { ifFence: 7n }],
    ["spent", "a grant id that lapsed", lapsed(), { grantId: "A" }],
    ["spent", "a grant id that was released", released(), { grantId: "A" }],
    ["spent", "a spent grant id before a seal", released({ sealed: true }), { grantId: "A", ifFence: 0n }],
    ["held", "held before sealed and moved", record({ sealed: true }), { ifFence: 1n }],
    ["sealed", "sealed before moved", lapsed({ sealed: true }), { ifFence: 1n }],
    ["moved", "a hand-over that lapsed", lapsed(), { from: { grantId: "A", fence: 7n } }],
    ["moved", "a hand-over that was released", released(), { from: { grantId: "A", fence: 7n } }],
    ["moved", "a hand-over from another fence", record(), { from: { grantId: "A", fence: 6n } }],
    ["moved", "a hand-over from another grant", record(), { from: { grantId: "C", fence: 7n } }],
    ["moved", "a hand-over of nothing", null, { from: { grantId: "A", fence: 7n } }],
  ];
  it.each(refused)("refuses with %s: %s", (reason, _, before, change) => {
    const { record: after, result } = acquire(before, claim(change), us(now));
    expect(result).toMatchObject({ outcome: "refused", reason });
    expect(after).toBe(before);
  });

  it("grants the same grant again with the same fence, and extends without touching seal or payload", () => {
    const before = record({ sealed: true });
    const { record: after, result } = acquire(
      before,
      claim({ grantId: "A", payload: "late", ttlMs: 9000 }),
      us(now),
    );
    expect(result).toEqual({ outcome: "granted", fence: 7n, payload: "old" });
    expect(after).toMatchObject({ expiresAt: now + 9000, sealed: true, payload: "old", payloadSeq: 2 });
  });

  it("never shortens when the same grant asks again", () => {
    expect(acquire(record(), claim({ grantId: "A", ttlMs: 1 }), us(now)).record?.expiresAt).toBe(now + 500);
  });

  it("raises the fence past the last one, also when that is ahead of the clock", () => {
    const ahead = us(now) + 5_000_000n;
    expect(acquire(released({ fence: ahead }), claim(), us(now)).result).toMatchObject({ fence: ahead + 1n });
  });

  it("keeps the payload unless another is given", () => {
    expect(acquire(released(), claim(), us(now)).result).toMatchObject({ payload: "old" });
    expect(acquire(released(), claim({ payload: "" }), us(now)).record?.payload).toBe("");
  });

  it("shows the payload of a refusal only when asked", () => {
    const shown = (withPayload: boolean): unknown => {
      const { result } = acquire(record(), claim({ withPayload }), us(now));
      return result.outcome === "refused" ? result.record?.payload : "granted";
    };
    expect([shown(false), shown(true)]).toEqual([undefined, "old"]);
  });

  it("gives at least the ttl when the clock stands between two milliseconds", () => {
    expect(acquire(null, claim(), us(now) + 1n).record?.expiresAt).toBe(now + 1001);
  });
});

describe("renew", () => {
  const request = (change: Partial<RenewRequest> = {}): RenewRequest => ({
    name,
    grantId: "A",
    fence: 7n,
    ttlMs: 1000,
    ...change,
  });
  it("extends a held lease and its purge time", () => {
    const { record: after, result } = renew(record(), request(), us(now));
    expect(result).toBe("renewed");
    expect(after).toMatchObject({ expiresAt: now + 1000, purgeAt: now + 61_000 });
  });
  it("never shortens", () => {
    expect(renew(record(), request({ ttlMs: 1 }), us(now)).record?.expiresAt).toBe(now + 500);
  });
  const lost: [string, LeaseRecord | null, Partial<RenewRequest>][] = [
    ["a lapsed lease", lapsed(), {}],
    ["a lease at the very end of its time", record({ expiresAt: now }), {}],
    ["a released lease", released(), {}],
    ["another grant's lease", record(), { grantId: "B" }],
    ["another fence", record(), { fence: 8n }],
    ["no record", null, {}],
  ];
  it.each(lost)("is lost for %s, and writes nothing", (_, before, change) => {
    const { record: after, result } = renew(
      before,
      request({ payload: "new", payloadSeq: 9, ...change }),
      us(now),
    );
    expect(result).toBe("lost");
    expect(after).toBe(before);
  });
  it("stores a payload only under a higher number", () => {
    const payloadAfter = (payloadSeq: number): unknown =>
      renew(record(), request({ payload: "new", payloadSeq }), us(now)).record?.payload;
    expect([1, 2, 3].map(payloadAfter)).toEqual(["old", "old", "new"]);
  });
});

describe("release", () => {
  const request = (change: Partial<ReleaseRequest> = {}): ReleaseRequest => ({
    name,
    grantId: "A",
    fence: 7n,
    sealed: false,
    retainMs: 60_000,
    ...change,
  });
  it.each([
    ["held", record()],
    ["lapsed and untouched", lapsed()],
  ])("ends a %s lease and keeps its fence and grant", (_, before) => {
    const { record: after, result } = release(before, request({ payload: "end", sealed: true }), us(now));
    expect(result).toEqual({ outcome: "released" });
    expect(after).toMatchObject({ expiresAt: 0, sealed: true, payload: "end", fence: 7n, grantId: "A" });
  });
  it("takes any fence of the grant for null", () => {
    expect(release(record(), request({ fence: null }), us(now)).result.outcome).toBe("released");
  });
  it("lets the first release stand", () => {
    const before = released({ payload: "first" });
    const { record: after, result } = release(before, request({ payload: "second", sealed: true }), us(now));
    expect(after).toBe(before);
    expect(result).toMatchObject({ outcome: "released", record: { payload: "first", state: "free" } });
  });
  it.each([
    ["another grant", record({ grantId: "B" })],
    ["another fence", record({ fence: 8n })],
    ["no record", null],
  ])("is lost for %s", (_, before) => {
    expect(release(before, request(), us(now))).toEqual({ record: before, result: { outcome: "lost" } });
  });
});

describe("overrule", () => {
  const request = (change: Partial<OverruleRequest> = {}): OverruleRequest => ({
    name,
    grantId: "X",
    fence: 7n,
    released: false,
    sealed: false,
    retainMs: 60_000,
    ...change,
  });
  it("raises the fence of a held record and leaves its expiry", () => {
    const { record: after, result } = overrule(record(), request(), us(now));
    expect(result).toEqual({ outcome: "overruled", fence: us(now) });
    expect(after).toMatchObject({ grantId: "X", expiresAt: now + 500, payload: "old", holder: "host:1" });
  });
  it("frees at once with now, and when it seals", () => {
    expect(overrule(record(), request({ now: true }), us(now)).record?.expiresAt).toBe(0);
    expect(overrule(record(), request({ sealed: true }), us(now)).record).toMatchObject({
      expiresAt: 0,
      sealed: true,
    });
  });
  it("makes all that the old grant sends lost", () => {
    const { record: after } = overrule(record(), request(), us(now));
    expect(renew(after, { name, grantId: "A", fence: 7n, ttlMs: 1 }, us(now)).result).toBe("lost");
    const late = { name, grantId: "A", fence: null, sealed: false, retainMs: null };
    expect(release(after, late, us(now)).result.outcome).toBe("lost");
  });
  it("answers a repeat with the same fence and writes nothing", () => {
    const { record: after } = overrule(record(), request(), us(now));
    const again = overrule(after, request(), us(now + 5));
    expect(again).toEqual({ record: after, result: { outcome: "overruled", fence: us(now) } });
  });
  it.each([
    ["another fence", record(), { fence: 6n }],
    ["a release since it was read", released(), {}],
    ["a record where there was none", record(), { fence: 0n }],
    ["no record", null, {}],
  ])("is moved by %s", (_, before, change) => {
    const { record: after, result } = overrule(before, request(change), us(now));
    expect(after).toBe(before);
    expect(result.outcome).toBe("moved");
  });
  it("takes a released record that was read as released", () => {
    expect(overrule(released(), request({ released: true }), us(now)).result.outcome).toBe("overruled");
  });
  it("writes a free record where there was none", () => {
    const { record: after } = overrule(null, request({ fence: 0n, sealed: true, payload: "p" }), us(now));
    expect(after).toMatchObject({ expiresAt: 0, sealed: true, payload: "p", holder: "", payloadSeq: 0 });
  });
});

describe("purging", () => {
  it("is retainMs after the latest of release, expiry and the instant of the fence", () => {
    const at = (before: LeaseRecord | null, ttlMs: number): unknown =>
      acquire(before, claim({ ttlMs }), us(now)).record?.purgeAt;
    expect(at(null, 1000)).toBe(now + 61_000);
    expect(at(released({ fence: us(now + 5000) }), 1000)).toBe(now + 65_001);
    const request = { name, grantId: "A", fence: 7n, sealed: false, retainMs: 60_000 };
    expect(release(record(), request, us(now)).record?.purgeAt).toBe(now + 60_000);
  });
  it("is never for null, and never while sealed and not released", () => {
    expect(acquire(null, claim({ retainMs: null }), us(now)).record?.purgeAt).toBeNull();
    expect(acquire(null, claim({ sealed: true }), us(now)).record?.purgeAt).toBeNull();
  });
  it("never takes a held record, whatever its purge time says", () => {
    expect(isPurgeable(record({ purgeAt: 1 }), us(now))).toBe(false);
    expect(isPurgeable(released({ purgeAt: now - 1 }), us(now))).toBe(true);
    expect(isPurgeable(released({ purgeAt: now }), us(now))).toBe(false);
  });
});

it("derives the state and what remains from the store's clock", () => {
  expect([record(), lapsed(), released()].map((each) => view(each, us(now)).state)).toEqual([
    "held",
    "lapsed",
    "free",
  ]);
  expect(view(record(), us(now) + 999n).remainingMs).toBe(500);
});
