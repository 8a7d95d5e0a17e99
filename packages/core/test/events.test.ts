import { subscribe, tracingChannel, unsubscribe } from "node:diagnostics_channel";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Coordinator } from "../src/api.ts";
import { createCoordinator } from "../src/coordinator.ts";
import { UnavailableError } from "../src/errors.ts";
import { fail, FakeHost, fakeStore } from "./fake-host.ts";

const verbs = ["acquire", "hold", "renew", "save", "break"];
let seen: string[];
let host: FakeHost;
let store: ReturnType<typeof fakeStore>;
let coord: Coordinator;
let stop: (() => void)[] = [];

/** What is stable in an event, as text. */
function describeEvent(verb: string, phase: string, event: object): string {
  const { key, outcome, reason, attempts, leases, renewed } = { ...event } as Record<string, unknown>;
  const facts = Object.entries({ key, outcome, reason, attempts, leases, renewed }).filter(
    ([, value]) => value !== undefined,
  );
  return `${verb} ${phase} ${facts.map(([name, value]) => `${name}=${String(value)}`).join(" ")}`.trim();
}

beforeEach(() => {
  seen = [];
  host = new FakeHost();
  store = fakeStore(host);
  coord = createCoordinator({ backend: store.backend, host, cleanUp: false, defaults: { ttlMs: 3000 } });
  stop = verbs.map((verb) => {
    const on = tracingChannel<object, object>(`coord:${verb}`);
    const handlers = {
      start: (event: object) => void seen.push(describeEvent(verb, "start", event)),
      asyncEnd: (event: object) => void seen.push(describeEvent(verb, "end", event)),
      error: (event: object) => void seen.push(describeEvent(verb, "error", event)),
      end: () => {},
      asyncStart: () => {},
    };
    on.subscribe(handlers);
    return () => {
      on.unsubscribe(handlers);
    };
  });
  const onNotice = (event: unknown): void => void seen.push(`notice ${(event as { notice: string }).notice}`);
  subscribe("coord:notice", onNotice);
  stop.push(() => void unsubscribe("coord:notice", onNotice));
});
afterEach(() => {
  for (const each of stop) each();
});

it("tells of an acquisition, its hold and its end", async () => {
  const lease = await coord.acquire("k");
  await lease.save(1);
  await lease.release();
  expect(seen).toEqual([
    "acquire start key=k",
    "hold start key=k",
    "acquire end key=k outcome=granted attempts=1",
    "save start key=k",
    "save end key=k",
    "hold end key=k outcome=released",
  ]);
});

it("tells of refusals, timeouts and failures", async () => {
  await coord.acquire("k");
  seen = [];
  await coord.tryAcquire("k");
  store.next("acquire", fail(new UnavailableError("down")), 99);
  const waiting = coord.acquire("other", { waitMs: 10 }).catch(() => undefined);
  await host.advance(2000);
  await waiting;
  expect(seen.filter((event) => event.startsWith("acquire"))).toEqual([
    "acquire start key=k",
    "acquire end key=k outcome=refused attempts=1",
    "acquire start key=other",
    expect.stringMatching(/^acquire error key=other/),
    expect.stringMatching(/^acquire end key=other outcome=unavailable attempts=\d+$/),
  ]);
});

it("tells of renewals, and of a loss with its reason", async () => {
  await coord.acquire("k");
  seen = [];
  await host.advance(1001);
  expect(seen).toEqual(["renew start leases=1", "renew end leases=1 renewed=1"]);
  host.mono += 3000;
  await host.advance(1000);
  expect(seen).toContain("hold end key=k outcome=lost reason=deadline");
});

it("tells of a lease that is held for long, every ten minutes", async () => {
  await coord.acquire("k");
  await host.advance(1_201_000);
  expect(seen.filter((event) => event === "notice held-long")).toHaveLength(2);
});

it("tells who broke a lease", async () => {
  const lease = await coord.acquire("k");
  await coord.breakLease("k", { fence: lease.fence, by: "me" });
  expect(seen).toContain("break end key=k");
});
