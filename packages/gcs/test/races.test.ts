import type { Backend } from "@coord/core";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  acquireRequest,
  callOptions,
  type FakeStore,
  freshName,
  granted,
  openFakeStore,
} from "./fake-store.ts";

// A busy machine may be slow.
vi.setConfig({ testTimeout: 60_000 });

let store: FakeStore;
let clients: Backend[];

beforeEach(async () => {
  store = await openFakeStore();
  clients = Array.from({ length: 8 }, () => store.open());
});

afterEach(() => store.close());

const options = callOptions(20_000);
const clientOf = (i: number): Backend => clients[i % clients.length] ?? store.open();

test("of 60 acquirers of a new, a released and a lapsed name one is granted, under a higher fence", async () => {
  const name = freshName();
  let fence = 0n;
  for (const how of ["new", "released", "lapsed", "released", "lapsed"]) {
    const requests = Array.from({ length: 60 }, (_, i) => acquireRequest(name, `${how}-${fence}-${i}`));
    const results = await Promise.all(requests.map((it, i) => clientOf(i).acquire(it, options)));
    const fences = results.flatMap((result) => (result.outcome === "granted" ? [result.fence] : []));
    expect(fences).toHaveLength(1);
    expect(fences[0]).toBeGreaterThan(fence);
    fence = fences[0] ?? fence;
    const winner = requests[results.findIndex(({ outcome }) => outcome === "granted")];
    if (how === "lapsed" && winner !== undefined) await clientOf(3).release({ ...winner, fence }, options);
    else store.pass(40_000);
  }
});

test("copies of one request get one fence", async () => {
  const request = acquireRequest(freshName(), "g");
  const copies = Array.from({ length: 4 }, (_, i) => clientOf(i).acquire(request, options));
  const fences = (await Promise.all(copies)).map((copy) => (copy.outcome === "granted" ? copy.fence : copy));
  expect(new Set(fences).size).toBe(1);
});

test("of two releases with different payloads by two cold processes the first stands, and both hear so", async () => {
  for (let round = 0; round < 20; round += 1) {
    const name = freshName();
    const grant = await granted(clientOf(0), name);
    const [a, b] = await Promise.all(
      [1, 2].map((i) => clientOf(i).release({ ...grant, payload: `by ${i}` }, options)),
    );
    expect([a?.outcome, b?.outcome]).toEqual(["released", "released"]);
    const stands = (await clientOf(3).inspect(name, options))?.payload;
    const heard = [a, b].flatMap((it) =>
      it?.outcome === "released" && it.record ? [it.record.payload] : [],
    );
    expect(heard).toEqual([stands]);
  }
});

test("of ten overrulers with one fence one is answered with a new one", async () => {
  const name = freshName();
  const { fence } = await granted(clientOf(0), name);
  const results = await Promise.all(
    Array.from({ length: 10 }, (_, i) => {
      const request = { name, grantId: `o${i}`, fence, released: false, sealed: false, retainMs: null };
      return clientOf(i).overrule(request, options);
    }),
  );
  expect(results.filter(({ outcome }) => outcome === "overruled")).toHaveLength(1);
});

test("a clean-up that races with acquirers deletes no record that was granted", async () => {
  for (let round = 0; round < 10; round += 1) {
    const name = freshName();
    await clientOf(0).release({ ...(await granted(clientOf(0), name)), retainMs: 1 }, options);
    store.pass(5000);
    const pruning = [clientOf(1).prune({ limit: 10 }, options), clientOf(2).prune({ limit: 10 }, options)];
    const acquiring = [3, 4, 5].map((i) =>
      clientOf(i).acquire(acquireRequest(name, `${round}-${i}`), options),
    );
    const results = await Promise.all(acquiring);
    await Promise.all(pruning);
    const winners = results.filter(({ outcome }) => outcome === "granted");
    expect(winners).toHaveLength(1);
    expect((await clientOf(6).inspect(name, options))?.state).toBe("held");
  }
});

test("eight clients that take turns at one name get rising fences, one holder at a time", async () => {
  const name = freshName();
  const fences: bigint[] = [];
  let holders = 0;
  const work = async (backend: Backend, id: number): Promise<void> => {
    for (let i = 0; i < 40; i += 1) {
      const request = acquireRequest(name, `${id}-${i}`);
      const result = await backend.acquire(request, options);
      if (result.outcome === "refused") continue;
      fences.push(result.fence);
      expect((holders += 1)).toBe(1);
      expect(await backend.renew([{ ...request, fence: result.fence }], options)).toEqual(["renewed"]);
      holders -= 1;
      expect(await backend.release({ ...request, fence: result.fence }, options)).toEqual({
        outcome: "released",
      });
    }
  };
  await Promise.all(clients.map(work));
  expect(fences.length).toBeGreaterThan(20);
  expect(fences).toEqual([...new Set(fences)].toSorted((a, b) => Number(a - b)));
});
