import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type {
  AcquireRequest,
  Backend,
  CallOptions,
  CasStore,
  LeaseRecord,
  Name,
  OverruleRequest,
  ReleaseRequest,
  RenewRequest,
  Seen,
} from "../src/index.ts";
import { casBackend, isCoordError, transitions, UnavailableError } from "../src/index.ts";

interface Token {
  readonly body: number;
}

interface Stored {
  readonly record: LeaseRecord<Token>;
  readonly version: number;
}

type Fault = "reply lost" | "request lost" | undefined;

const name: Name = { namespace: "ns", key: "l\u001fk" };
const options: CallOptions = { signal: new AbortController().signal, timeoutMs: 5000 };
const retainMs = 60_000;

const none = async (): Promise<never> => {
  throw new Error("not used");
};

/** A map behind delays, whose payloads are requests of their own and vanish when they are replaced. */
function createMapStore(delay: () => Promise<void> = async () => {}) {
  const objects = new Map<string, Stored>();
  const texts = new Map<number, string>();
  let writes = 0;
  const store = {
    nowUs: 1_700_000_000_000_000n,
    /** Whether answers tell whole seconds. */
    isCoarse: false,
    /** Strikes the next swap. */
    fault: undefined as Fault,
    requests: { read: 0, swap: 0, text: 0 },
    objects,
    /** Each applied swap, in order. */
    history: [] as LeaseRecord<Token>[],
    backend: (): Backend => casBackend<number, Token>(parts),
    edit(change: (record: LeaseRecord<Token>) => LeaseRecord<Token>): void {
      const stored = objects.get(name.key);
      if (stored !== undefined)
        objects.set(name.key, { record: change(stored.record), version: (writes += 1) });
    },
  };
  const monotonicMs = (): number => Number(store.nowUs) / 1000;
  const seen = (sentAt: number): Seen<number, Token> => {
    const { record = null, version = 0 } = objects.get(name.key) ?? {};
    const nowUs = store.isCoarse ? store.nowUs - (store.nowUs % 1_000_000n) : store.nowUs;
    return { record, version, nowUs, sentAt };
  };
  const parts: CasStore<number, Token> = {
    info: { name: "map" },
    monotonicMs,
    get coarseMs() {
      return store.isCoarse ? 1000 : 0;
    },
    async read() {
      const sentAt = monotonicMs();
      store.requests.read += 1;
      await delay();
      const answer = seen(sentAt);
      await delay();
      return answer;
    },
    async text(_, { body }) {
      store.requests.text += 1;
      await delay();
      return texts.get(body) ?? null;
    },
    async swap(_, before, record) {
      const sentAt = monotonicMs();
      store.requests.swap += 1;
      const { fault } = store;
      store.fault = undefined;
      await delay();
      if (fault === "request lost") throw new UnavailableError("lost");
      const old = objects.get(name.key);
      if ((old?.version ?? 0) !== before.version) return null;
      const version = (writes += 1);
      const { payload } = record;
      if (typeof payload === "string") {
        texts.clear();
        texts.set(version, payload);
      }
      const stored = { ...record, payload: typeof payload === "string" ? { body: version } : payload };
      objects.set(name.key, { record: stored, version });
      store.history.push(stored);
      if (fault === "reply lost") throw new UnavailableError("lost");
      const answer = seen(sentAt);
      await delay();
      return answer;
    },
    list: none,
    prune: none,
    setup: none,
    diagnose: none,
    close: none,
  };
  return store;
}

type Operation =
  | { readonly verb: "acquire"; readonly request: AcquireRequest }
  | { readonly verb: "renew"; readonly request: RenewRequest }
  | { readonly verb: "release"; readonly request: ReleaseRequest }
  | { readonly verb: "overrule"; readonly request: OverruleRequest }
  | { readonly verb: "inspect" };

async function run(backend: Backend, operation: Operation): Promise<unknown> {
  switch (operation.verb) {
    case "acquire":
      return await backend.acquire(operation.request, options);
    case "renew":
      return (await backend.renew([operation.request], options))[0];
    case "release":
      return await backend.release(operation.request, options);
    case "overrule":
      return await backend.overrule(operation.request, options);
    case "inspect":
    default:
      return await backend.inspect(name, options);
  }
}

function expected(operation: Operation, record: LeaseRecord | null, nowUs: bigint) {
  switch (operation.verb) {
    case "acquire":
      return transitions.acquire(record, operation.request, nowUs);
    case "renew":
      return transitions.renew(record, operation.request, nowUs);
    case "release":
      return transitions.release(record, operation.request, nowUs);
    case "overrule":
      return transitions.overrule(record, operation.request, nowUs);
    case "inspect":
    default:
      return { record, result: record === null ? null : transitions.view(record, nowUs) };
  }
}

const grantId = fc.constantFrom("g1", "g2", "g3", "g4");
const payload = fc.option(fc.constantFrom("", "one", "\u{1f600}"), { nil: undefined });
/** What the fence of a request is, relative to the record's. */
const fenceOf = fc.constantFrom<"record" | "other" | "any">("record", "record", "record", "other", "any");

const wish = fc.record({
  verb: fc.constantFrom("acquire", "acquire", "renew", "renew", "release", "overrule", "inspect"),
  client: fc.boolean(),
  waitMs: fc.constantFrom(0, 0, 0, 10, 300, 700, 1200),
  fault: fc.constantFrom<Fault>(undefined, undefined, undefined, "reply lost", "request lost"),
  grantId,
  from: grantId,
  isHandover: fc.constantFrom(false, false, false, true),
  isConditional: fc.constantFrom(false, false, false, true),
  fence: fenceOf,
  isSealed: fc.constantFrom(false, false, true),
  isNow: fc.boolean(),
  withPayload: fc.boolean(),
  payload,
  payloadSeq: fc.nat({ max: 3 }),
  ttlMs: fc.constantFrom(500, 1000),
});

type Wish = typeof wish extends fc.Arbitrary<infer T> ? T : never;

function operationOf(asked: Wish, record: LeaseRecord | null): Operation {
  const held = record?.fence ?? 0n;
  const fence = asked.fence === "other" ? held + 1n : held;
  const common = { name, grantId: asked.grantId, payload: asked.payload, retainMs, sealed: asked.isSealed };
  const { ttlMs, withPayload, payloadSeq } = asked;
  switch (asked.verb) {
    case "acquire": {
      const from = asked.isHandover ? { grantId: asked.from, fence } : undefined;
      const ifFence = asked.isConditional ? fence : undefined;
      return { verb: "acquire", request: { ...common, holder: "h", ttlMs, from, ifFence, withPayload } };
    }
    case "renew":
      return { verb: "renew", request: { ...common, fence, ttlMs, payloadSeq } };
    case "release":
      return { verb: "release", request: { ...common, fence: asked.fence === "any" ? null : fence } };
    case "overrule": {
      const released = record === null || record.expiresAt === 0;
      return { verb: "overrule", request: { ...common, fence, released, now: asked.isNow } };
    }
    case "inspect":
    default:
      return { verb: "inspect" };
  }
}

const runs = Math.ceil(Number(process.env["COORD_STEPS"] ?? 8000) / 40);

test("two clients answer as the transitions do, also when requests or replies are lost", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(wish, { minLength: 20, maxLength: 60 }), async (wishes) => {
      const store = createMapStore();
      const clients = { one: store.backend(), two: store.backend() };
      let record: LeaseRecord | null = null;
      for (const asked of wishes) {
        store.nowUs += BigInt(asked.waitMs * 1000 + 1);
        const operation = operationOf(asked, record);
        store.fault = asked.fault;
        for (let answered = false; !answered;) {
          const before: LeaseRecord | null = record;
          try {
            const result = await run(asked.client ? clients.one : clients.two, operation);
            answered = true;
            const step = expected(operation, before, store.nowUs);
            record = step.record;
            expect({ [operation.verb]: result }).toEqual({ [operation.verb]: step.result });
          } catch (error) {
            if (!isCoordError(error, "COORD_UNAVAILABLE")) throw error;
            if (asked.fault === "reply lost") record = expected(operation, before, store.nowUs).record;
          }
        }
        store.fault = undefined;
      }
    }),
    { numRuns: runs },
  );
});

const someDelay = (): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, Math.floor(Math.random() * 4)));
const acquire = (id: string, more: Partial<AcquireRequest> = {}): AcquireRequest => ({
  name,
  grantId: id,
  holder: "h",
  ttlMs: 1000,
  sealed: false,
  retainMs,
  ...more,
});

describe("under contention", () => {
  test("of 60 acquirers of a new, a released and a lapsed name one is granted, under a higher fence", async () => {
    const store = createMapStore(someDelay);
    let fence = 0n;
    for (const how of ["new", "released", "lapsed"]) {
      const ids = Array.from({ length: 60 }, (_, i) => `${how}-${i}`);
      const results = await Promise.all(ids.map((id) => store.backend().acquire(acquire(id), options)));
      const granted = results.flatMap((result) => (result.outcome === "granted" ? [result.fence] : []));
      expect(granted).toHaveLength(1);
      expect(granted[0]).toBeGreaterThan(fence);
      fence = granted[0] ?? 0n;
      const holder = ids[results.findIndex((result) => result.outcome === "granted")] ?? "";
      const request = { name, grantId: holder, fence, sealed: false, retainMs };
      if (how === "new") await store.backend().release(request, options);
      else store.nowUs += 2_000_000n;
    }
  });

  test("copies of one request get one fence", async () => {
    const store = createMapStore(someDelay);
    const copies = Array.from({ length: 20 }, () => store.backend().acquire(acquire("g"), options));
    const fences = (await Promise.allSettled(copies)).map((copy) =>
      copy.status === "fulfilled" && copy.value.outcome === "granted" ? copy.value.fence : copy,
    );
    // Twenty writers of one name may keep one of them from its write for all its turns: unknown, never refused.
    const known = fences.filter((fence) => typeof fence === "bigint");
    expect(new Set(known).size).toBe(1);
    for (const other of fences.filter((fence) => typeof fence !== "bigint")) {
      expect(other).toMatchObject({ status: "rejected", reason: { code: "COORD_UNAVAILABLE" } });
    }
  });

  test("grants, payloads and fences of eight clients form one history", async () => {
    const store = createMapStore(someDelay);
    const worker = async (id: number): Promise<void> => {
      const backend = store.backend();
      for (let i = 0; i < 15; i += 1) {
        const mine = `${id}-${i}`;
        const result = await backend.acquire(acquire(mine), options).catch(() => undefined);
        if (result?.outcome !== "granted") continue;
        const grant = { name, grantId: mine, fence: result.fence };
        expect(await backend.renew([{ ...grant, ttlMs: 1000 }], options)).toEqual(["renewed"]);
        const release = { ...grant, sealed: false, retainMs, payload: `${result.payload ?? ""}.` };
        expect(await backend.release(release, options)).toEqual({ outcome: "released" });
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, id) => worker(id)));
    const grants = store.history.filter(({ expiresAt }, i) => expiresAt !== 0 && i % 3 === 0);
    const last = await store.backend().inspect(name, options);
    expect(last?.payload).toBe(".".repeat(store.history.length / 3));
    const fences = grants.map(({ fence }) => fence);
    const distinct = [...new Set(fences)];
    expect(fences).toEqual(distinct.toSorted((a, b) => Number(a - b)));
  });
});

async function heldGrant(store: ReturnType<typeof createMapStore>, ttlMs = 1000) {
  const backend = store.backend();
  const base = { name, grantId: "g", ttlMs, sealed: false, retainMs };
  const result = await backend.acquire({ ...base, holder: "h", payload: "text" }, options);
  if (result.outcome !== "granted") throw new Error("not granted");
  store.requests = { read: 0, swap: 0, text: 0 };
  return { backend, grant: { ...base, fence: result.fence } };
}

describe("requests", () => {
  test("renew and release of one's own grant are one write each, and never fetch the payload", async () => {
    const store = createMapStore();
    const { backend, grant } = await heldGrant(store);
    expect(await backend.renew([grant], options)).toEqual(["renewed"]);
    expect(await backend.release(grant, options)).toEqual({ outcome: "released" });
    expect(store.requests).toEqual({ read: 0, swap: 2, text: 0 });
  });

  test("an answer that took over a second is not remembered", async () => {
    let isSlow = true;
    const slow = createMapStore(async () => {
      if (isSlow) slow.nowUs += 600_000n;
    });
    const { backend, grant } = await heldGrant(slow, 10_000);
    isSlow = false;
    expect(await backend.renew([grant], options)).toEqual(["renewed"]);
    expect(slow.requests).toEqual({ read: 1, swap: 1, text: 0 });
  });

  test("a refusal comes from a read, never from memory", async () => {
    const store = createMapStore();
    const { backend, grant } = await heldGrant(store);
    store.edit((record) => ({ ...record, expiresAt: record.expiresAt + 60_000 }));
    store.nowUs += 1_500_000n;
    expect(await backend.renew([grant], options)).toEqual(["renewed"]);
  });

  test("memory revives no lease that has lapsed by a clock of whole seconds", async () => {
    const store = createMapStore();
    store.isCoarse = true;
    store.nowUs += 900_000n;
    const { backend, grant } = await heldGrant(store);
    store.nowUs += 200_000n;
    expect((await backend.inspect(name, options))?.state).toBe("lapsed");
    expect(await backend.renew([grant], options)).toEqual(["lost"]);
    expect((await backend.inspect(name, options))?.state).toBe("lapsed");
  });

  test.each(["heartbeat", "save"])(
    "a late %s is lost, and does not make the lapsed name held",
    async (what) => {
      let lateUs = 0n;
      const store = createMapStore(async () => {
        store.nowUs += lateUs;
        lateUs = 0n;
      });
      const { backend, grant } = await heldGrant(store);
      const before = await backend.inspect(name, options);
      lateUs = 1_500_000n;
      const payload = what === "save" ? { payload: "late", payloadSeq: 1 } : {};
      expect(await backend.renew([{ ...grant, ...payload }], options)).toEqual(["lost"]);
      const after = await backend.inspect(name, options);
      expect(after).toEqual({ ...before, state: "lapsed", remainingMs: 0, ...payload });
      expect(await backend.renew([grant], options)).toEqual(["lost"]);
    },
  );

  test("a payload that was replaced between the read and its text is read again", async () => {
    const store = createMapStore();
    const { backend, grant } = await heldGrant(store);
    const seen = store.backend().inspect(name, options);
    await backend.renew([{ ...grant, payload: "newer", payloadSeq: 1 }], options);
    expect((await seen)?.payload).toBe("newer");
    expect(store.requests.text).toBe(2);
  });
});

const failing = (error: unknown): Backend => {
  const fail = async (): Promise<never> => {
    throw error;
  };
  return casBackend<number>({
    info: { name: "map" },
    read: fail,
    swap: fail,
    list: fail,
    prune: fail,
    setup: fail,
    diagnose: fail,
    close: fail,
  });
};

describe("errors", () => {
  const base = { name, grantId: "g", ttlMs: 1000, sealed: false, retainMs, holder: "h" };
  test("a step whose read failed was not done", async () => {
    const failed = failing(new UnavailableError("down", { retryAfterMs: 7 })).acquire(base, options);
    await expect(failed).rejects.toMatchObject({ code: "COORD_UNAVAILABLE", notDone: true, retryAfterMs: 7 });
  });

  test("a step whose swap failed is unknown", async () => {
    const store = createMapStore();
    store.fault = "reply lost";
    const failed = store.backend().acquire(base, options);
    await expect(failed).rejects.toMatchObject({ code: "COORD_UNAVAILABLE", notDone: false });
  });

  test("renewals without any answer say why; with one, the others are unknown", async () => {
    const store = createMapStore();
    const result = await store.backend().acquire(base, options);
    const fence = result.outcome === "granted" ? result.fence : 0n;
    await expect(failing(new UnavailableError("down")).renew([{ ...base, fence }], options)).rejects.toThrow(
      "down",
    );
    store.fault = "request lost";
    const requests = [
      { ...base, fence },
      { ...base, fence },
    ];
    expect((await store.backend().renew(requests, options)).toSorted()).toEqual(["renewed", "unknown"]);
  });
});
