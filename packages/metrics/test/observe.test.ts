import { channel } from "node:diagnostics_channel";
import { createCoordinator, memoryBackend } from "@coord/core";
import type { Coordinator } from "@coord/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { instruments, observe } from "../src/index.ts";
import type { Instrument, Labels, ObserveOptions, Observing } from "../src/index.ts";

interface Value {
  readonly name: string;
  readonly value: number;
  readonly labels: Labels;
}

let coord: Coordinator;
let observing: Observing;
let values: Value[];

function begin(options: ObserveOptions = {}): void {
  observing = observe(
    { record: ({ name }, value, labels) => void values.push({ name, value, labels }) },
    options,
  );
}

const of = ({ name }: Instrument): Value[] => values.filter((each) => each.name === name);
const sum = (instrument: Instrument): number => of(instrument).reduce((all, { value }) => all + value, 0);

beforeEach(() => {
  values = [];
  coord = createCoordinator({ backend: memoryBackend(), namespace: "billing", cleanUp: false });
});

afterEach(async () => {
  observing.stop();
  await coord.close();
});

describe("leases", () => {
  it("says how long each was waited for and held, and how it ended", async () => {
    begin();
    await coord.withLease("invoice:42", async () => {});
    const labels = { backend: "memory", namespace: "billing", kind: "lease" };
    expect(of(instruments.leaseWait)).toMatchObject([{ labels: { ...labels, outcome: "granted" } }]);
    expect(of(instruments.leaseHold)).toMatchObject([{ labels: { ...labels, outcome: "released" } }]);
    expect(of(instruments.leaseAttempts)).toMatchObject([{ value: 1, labels }]);
    const [{ value } = { value: 0 }] = of(instruments.leaseSucceeded);
    expect(Math.abs(value - Date.now() / 1000)).toBeLessThan(60);
  });

  it("counts those held now, with the age of the oldest", async () => {
    begin();
    const lease = await coord.acquire("a");
    const [{ value: age, labels } = { value: -1, labels: {} }] = observing.read(instruments.leaseHeldAge);
    expect(sum(instruments.leaseHeld)).toBe(1);
    expect(age).toBeGreaterThanOrEqual(0);
    expect(labels).toEqual({ backend: "memory", namespace: "billing", kind: "lease" });
    await lease.release();
    expect(sum(instruments.leaseHeld)).toBe(0);
    expect(observing.read(instruments.leaseHeldAge)).toEqual([{ value: 0, labels }]);
  });

  it("tells a refusal from a grant, and a broken lease by its reason when it is noticed", async () => {
    begin();
    const lease = await coord.acquire("a", { ttlMs: 1000 });
    expect(await coord.tryAcquire("a")).toBeNull();
    await coord.breakLease("a", { fence: lease.fence, by: "operator", now: true });
    await expect(lease.save("x")).rejects.toMatchObject({ code: "COORD_LEASE_LOST" });
    expect(of(instruments.leaseWait).map(({ labels }) => labels["outcome"])).toEqual(["granted", "refused"]);
    expect(sum(instruments.leaseBroken)).toBe(1);
    expect(of(instruments.leaseLost)).toMatchObject([{ value: 1, labels: { reason: "refused" } }]);
    expect(sum(instruments.checkpoints)).toBe(0);
  });

  it("tells what renewals came to", async () => {
    begin();
    const lease = await coord.acquire("a", { ttlMs: 600 });
    await expect.poll(() => of(instruments.renewals).length, { timeout: 5000 }).toBeGreaterThan(0);
    await lease.release();
    expect(of(instruments.renewals)[0]).toMatchObject({ value: 1, labels: { outcome: "renewed" } });
    expect(of(instruments.renewalLag).length).toBe(of(instruments.renewalDuration).length);
  });
});

describe("executions and elections", () => {
  it("says what each call of once came to, and whether it ran", async () => {
    begin();
    for (let i = 0; i < 2; i++) await coord.once("pay:1", () => "done");
    expect(of(instruments.executions).map(({ labels }) => [labels["outcome"], labels["replayed"]])).toEqual([
      ["completed", "false"],
      ["completed", "true"],
    ]);
  });

  it("knows whether this process leads", async () => {
    begin({ labelKey: (key) => key });
    const election = coord.elect("scheduler", { ttlMs: 1000 }).start();
    await expect.poll(() => sum(instruments.leader), { timeout: 5000 }).toBe(1);
    expect(of(instruments.leader)[0]?.labels["key"]).toBe("scheduler");
    await election.stop();
    expect(sum(instruments.leader)).toBe(0);
    expect(of(instruments.term)).toHaveLength(1);
  });
});

describe("what other packages publish", () => {
  it("counts messages of a queue", () => {
    begin();
    const base = { stream: "orders", group: "workers", consumer: "c1" };
    const queue = channel("coord:queue");
    queue.publish({ ...base, event: "read", source: "stale", messages: 3 });
    queue.publish({
      ...base,
      event: "handled",
      id: "1-0",
      attempt: 1,
      outcome: "done",
      durationMs: 20,
      waitedMs: -1,
    });
    queue.publish({ ...base, event: "acked", messages: 2 });
    queue.publish({ ...base, event: "dead", id: "2-0", attempt: 5, reason: "handler" });
    const labels = { stream: "orders", group: "workers" };
    expect(values).toEqual([
      { name: "coord.queue.read", value: 3, labels: { ...labels, source: "stale" } },
      { name: "coord.queue.claimed", value: 3, labels },
      { name: "coord.queue.handler", value: 0.02, labels: { ...labels, outcome: "done" } },
      { name: "coord.queue.wait", value: 0, labels },
      { name: "coord.queue.acked", value: 2, labels },
      { name: "coord.queue.dead", value: 1, labels: { ...labels, reason: "handler" } },
    ]);
  });

  it("times writes and lock waits of SQL", () => {
    begin();
    const sql = channel("coord:sql");
    sql.publish({ kind: "row-lock", dialect: "postgres", lock: "account", outcome: "locked", waitedMs: 5 });
    sql.publish({
      kind: "occ-update",
      dialect: "mysql",
      table: "account",
      outcome: "conflict",
      durationMs: 2,
    });
    expect(values).toEqual([
      {
        name: "coord.sql.lock.wait",
        value: 0.005,
        labels: { dialect: "postgres", kind: "row-lock", outcome: "locked" },
      },
      {
        name: "coord.sql.write",
        value: 0.002,
        labels: { dialect: "mysql", kind: "occ-update", table: "account", outcome: "conflict" },
      },
    ]);
  });
});

describe("keys", () => {
  it("are no label unless a function makes them one", async () => {
    begin();
    await coord.withLease("invoice:42", () => {});
    expect(values.filter(({ labels }) => "key" in labels)).toEqual([]);
    observing.stop();
    values = [];
    begin({ labelKey: (key) => key.split(":")[0] });
    await coord.withLease("invoice:42", () => {});
    expect(of(instruments.leaseHold)[0]?.labels["key"]).toBe("invoice");
  });

  it("of the wrong type are refused", () => {
    expect(() => observe({ record: () => {} }, { labelKey: "x" as never })).toThrow(
      /labelKey must be a function/,
    );
  });
});

it("gives each value exactly the labels that its instrument names", async () => {
  begin({ labelKey: () => "k" });
  await coord.withLease("a", (lease) => lease.save("x"));
  await coord.once("b", () => 1);
  const byName = new Map(Object.values(instruments).map((each) => [each.name, each]));
  for (const { name, labels } of values) {
    const { labels: expected = [], perKey = false } = byName.get(name) ?? {};
    expect([name, ...Object.keys(labels).toSorted()]).toEqual([
      name,
      ...[...expected, ...(perKey ? ["key"] : [])].toSorted(),
    ]);
  }
  expect(values.length).toBeGreaterThan(8);
});

it("costs nobody their lease when the recorder throws, and says so once", async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on("warning", onWarning);
  observing = observe({
    record: () => {
      throw new Error("full");
    },
  });
  expect(await coord.withLease("a", () => 7)).toBe(7);
  await expect.poll(() => warnings.filter(({ name }) => name === "CoordWarning").length).toBe(1);
  process.off("warning", onWarning);
});

it("records nothing after stop", async () => {
  begin();
  observing.stop();
  await coord.withLease("a", () => {});
  expect(values).toEqual([]);
});
