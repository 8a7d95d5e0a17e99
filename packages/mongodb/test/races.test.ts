import { type AcquireRequest, isCoordError, type Name, type OverruleRequest } from "@coord/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type MongodbBackend, mongodbBackend } from "../src/index.ts";
import { freshId, freshNamespace, within } from "./calls.ts";
import { missing, useStore } from "./store.ts";

const namespace = freshNamespace();
let count = 0;
const freshName = (): Name => ({ namespace, key: `l\u001frace ${(count += 1)}` });

const attempt = (name: Name, more: Partial<AcquireRequest> = {}): AcquireRequest => ({
  name,
  grantId: freshId(),
  holder: "race",
  ttlMs: 60_000,
  sealed: false,
  retainMs: 60_000,
  ...more,
});

/** Repeats the same request while its outcome is unknown, as core does. */
async function resolved<T>(call: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call();
    } catch (error) {
      if (!isCoordError(error, "COORD_UNAVAILABLE") || tries === 50) throw error;
    }
  }
}

describe.skipIf(missing)("races", () => {
  const store = useStore();
  let backends: MongodbBackend[] = [];
  beforeAll(async () => {
    if (missing !== undefined) return;
    backends = [mongodbBackend({ db: store().db }), mongodbBackend({ url: store().server.url })];
    await backends[0]?.setup(within());
  });
  afterAll(async () => {
    await Promise.all(backends.map((backend) => backend.close()));
  });
  const all = <T>(contenders: number, call: (backend: MongodbBackend, index: number) => Promise<T>) =>
    Promise.all(
      Array.from({ length: contenders }, (_, index) => {
        const backend = backends[index % backends.length];
        if (backend === undefined) throw new Error("no backend");
        return resolved(() => call(backend, index));
      }),
    );
  const first = (): MongodbBackend => {
    const [backend] = backends;
    if (backend === undefined) throw new Error("no backend");
    return backend;
  };

  test.each(["new", "released", "lapsed"])("of 40 acquirers of a %s name one is granted", async (kind) => {
    for (let round = 0; round < 5; round += 1) {
      const name = freshName();
      if (kind !== "new") {
        const held = attempt(name);
        const granted = await first().acquire(held, within());
        if (granted.outcome !== "granted") throw new Error("refused");
        const { grantId } = held;
        if (kind === "released") {
          await first().release(
            { name, grantId, fence: granted.fence, sealed: false, retainMs: 60_000 },
            within(),
          );
        } else {
          await store()
            .db.collection<{ _id: string }>("coord_leases")
            .updateOne(
              { _id: `${name.namespace}:${name.key}` },
              { $set: { expiresAt: new Date(Date.now() - 10_000) } },
            );
        }
      }
      const requests = Array.from({ length: 40 }, () => attempt(name));
      const answers = await all(40, (backend, index) =>
        backend.acquire(requests[index] ?? attempt(name), within()),
      );
      const granted = answers.filter((answer) => answer.outcome === "granted");
      expect(granted).toHaveLength(1);
      const reasons = answers.flatMap((answer) => (answer.outcome === "refused" ? [answer.reason] : []));
      expect(new Set(reasons)).toEqual(new Set(["held"]));
    }
  });

  test("20 copies of one acquire get one fence", async () => {
    const request = attempt(freshName());
    const answers = await all(20, (backend) => backend.acquire(request, within()));
    const fences = new Set(
      answers.map((answer) => (answer.outcome === "granted" ? answer.fence : answer.reason)),
    );
    expect(fences.size).toBe(1);
    expect(typeof [...fences][0]).toBe("bigint");
  });

  test("of 20 adopters of one hand-over one is granted, under a new fence", async () => {
    const name = freshName();
    const held = attempt(name);
    const granted = await first().acquire(held, within());
    if (granted.outcome !== "granted") throw new Error("refused");
    const from = { grantId: held.grantId, fence: granted.fence };
    const requests = Array.from({ length: 20 }, () => attempt(name, { from }));
    const answers = await all(20, (backend, index) => backend.acquire(requests[index] ?? held, within()));
    const adopted = answers.flatMap((answer) => (answer.outcome === "granted" ? [answer.fence] : []));
    expect(adopted).toHaveLength(1);
    expect(adopted[0]).toBeGreaterThan(granted.fence);
  });

  test.each(["no record", "a held record"])("of 10 overrulers of %s one wins", async (kind) => {
    const name = freshName();
    let fence = 0n;
    if (kind === "a held record") {
      const granted = await first().acquire(attempt(name), within());
      if (granted.outcome === "granted") fence = granted.fence;
    }
    const requests = Array.from({ length: 10 }, (): OverruleRequest => {
      return { name, grantId: freshId(), fence, released: false, sealed: false, retainMs: 60_000 };
    });
    const answers = await all(10, (backend, index) => {
      const request = requests[index];
      if (request === undefined) throw new Error("no request");
      return backend.overrule(request, within());
    });
    expect(answers.filter((answer) => answer.outcome === "overruled")).toHaveLength(1);
  });

  test("of two releases with different payloads the first stands, and both say released", async () => {
    for (let round = 0; round < 20; round += 1) {
      const name = freshName();
      const held = attempt(name);
      const granted = await first().acquire(held, within());
      if (granted.outcome !== "granted") throw new Error("refused");
      const end = { name, grantId: held.grantId, fence: granted.fence, sealed: false, retainMs: 60_000 };
      const answers = await all(2, (backend, index) =>
        backend.release({ ...end, payload: `payload ${index}` }, within()),
      );
      const stored = await first().inspect(name, within());
      const repeats = answers.flatMap((answer) => (answer.outcome === "released" ? [answer.record] : []));
      expect(repeats).toHaveLength(2);
      expect(repeats.filter((record) => record !== undefined)).toHaveLength(1);
      expect(repeats.find((record) => record !== undefined)?.payload).toBe(stored?.payload);
    }
  });
});
