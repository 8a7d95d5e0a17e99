import { PGlite } from "@electric-sql/pglite";
import { afterAll, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { acquireRequest, call, freshName, overruleRequest, releaseRequest, until } from "./harness.ts";

const db = await PGlite.create();
const backend = postgresBackend({ client: db });
await backend.setup(call());
afterAll(async () => {
  await backend.close();
  await db.close();
});

test("the steps work on PGlite", async () => {
  await backend.setup(call());
  const name = freshName();
  const request = acquireRequest(name, { payload: "a" });
  const granted = await backend.acquire(request, call());
  if (granted.outcome === "refused") throw new Error("refused");
  const grant = { name, grantId: request.grantId, fence: granted.fence };
  expect(await backend.acquire(acquireRequest(name), call())).toMatchObject({ reason: "held" });
  const renewal = { ...grant, ttlMs: 60_000, payload: "b", payloadSeq: 1 };
  const other = { ...grant, name: { ...name, key: "other" }, ttlMs: 60_000 };
  expect(await backend.renew([renewal, other], call())).toEqual(["renewed", "lost"]);
  expect(await backend.inspect(name, call())).toMatchObject({ payload: "b", payloadSeq: 1, state: "held" });
  await db.transaction((tx) => backend.within(tx).verify({ grant }));
  expect(await backend.release(releaseRequest(grant), call())).toEqual({ outcome: "released" });
  expect(await backend.release(releaseRequest(grant), call())).toMatchObject({ record: { payload: "b" } });
  expect(
    await backend.overrule(overruleRequest(name, grant.fence, { released: true }), call()),
  ).toMatchObject({
    outcome: "overruled",
  });
  expect(await backend.list({ namespace: name.namespace, prefix: "", limit: 10 }, call())).toHaveLength(1);
  expect(await backend.prune({ limit: 10 }, call())).toBe(0);
  const { findings } = await backend.diagnose(call());
  expect(findings).toContainEqual({ level: "ok", message: "LISTEN and NOTIFY deliver" });
});

test("a release wakes within the process", async () => {
  const request = acquireRequest(freshName());
  const granted = await backend.acquire(request, call());
  if (granted.outcome === "refused") throw new Error("refused");
  let wakes = 0;
  const subscription = await backend.watch?.(request.name, () => void wakes++, call());
  expect([subscription?.live, wakes]).toEqual([true, 0]);
  await backend.release(releaseRequest({ ...request, fence: granted.fence }), call());
  await until("the release wakes", () => wakes > 0);
  await subscription?.close();
});
