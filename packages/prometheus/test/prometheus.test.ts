import { channel } from "node:diagnostics_channel";
import { createCoordinator, memoryBackend } from "@coord/core";
import type { Coordinator } from "@coord/core";
import { instruments } from "@coord/metrics";
import { Registry } from "prom-client";
import { afterEach, beforeEach, expect, it } from "vitest";
import { metricName, prometheusMetrics } from "../src/index.ts";
import type { PrometheusOptions } from "../src/index.ts";
import { needsPromtool, promtool } from "./promtool.ts";

let registry: Registry;
let coord: Coordinator;
let metrics: { stop(): void } | undefined;

beforeEach(() => {
  registry = new Registry();
  coord = createCoordinator({ backend: memoryBackend(), namespace: "billing", cleanUp: false });
});

afterEach(async () => {
  metrics?.stop();
  metrics = undefined;
  await coord.close();
});

const begin = (options: PrometheusOptions = {}): void => {
  metrics = prometheusMetrics({ registry, ...options });
};

it("names metrics by the conventions of Prometheus", () => {
  expect(metricName(instruments.leaseWait)).toBe("coord_lease_wait_seconds");
  expect(metricName(instruments.leaseLost)).toBe("coord_lease_lost_total");
  expect(metricName(instruments.leaseHeld)).toBe("coord_lease_held");
  expect(metricName(instruments.leaseSucceeded)).toBe("coord_lease_last_success_timestamp_seconds");
});

it("shows what happened, and what is held now", async () => {
  begin();
  await coord.withLease("invoice:1", () => {});
  const lease = await coord.acquire("invoice:2");
  await coord.once("pay:1", () => "done");
  const text = await registry.metrics();
  const labels = 'backend="memory",namespace="billing"';
  expect(text).toContain(`coord_lease_wait_seconds_count{${labels},kind="lease",outcome="granted"} 2`);
  expect(text).toContain(`coord_lease_hold_seconds_count{${labels},kind="lease",outcome="released"} 1`);
  expect(text).toContain(`coord_lease_held{${labels},kind="lease"} 1`);
  expect(text).toMatch(new RegExp(`coord_lease_held_age_seconds{${labels},kind="lease"} [0-9.e-]+\n`));
  expect(text).toContain(
    `coord_execution_duration_seconds_count{${labels},outcome="completed",replayed="false"} 1`,
  );
  expect(text).not.toContain("invoice");
  await lease.release();
  expect(await registry.metrics()).toContain(`coord_lease_held{${labels},kind="lease"} 0`);
});

it("has every metric, with the labels that were asked for", async () => {
  begin({ labelKey: (key) => key.split(":")[0] });
  await coord.withLease("invoice:1", (lease) => lease.save("x"));
  const base = { stream: "orders", group: "workers", consumer: "c1" };
  channel("coord:queue").publish({ ...base, event: "acked", messages: 2 });
  const text = await registry.metrics();
  expect(text).toContain('key="invoice"');
  expect(text).toContain('coord_queue_acked_total{stream="orders",group="workers"} 2');
  for (const instrument of Object.values(instruments))
    expect(text).toContain(`# TYPE ${metricName(instrument)} `);
});

it.skipIf(needsPromtool)("is exposed as promtool wants it", async () => {
  begin();
  await coord.withLease("invoice:1", () => {});
  expect(await promtool(["check", "metrics"], await registry.metrics())).toBe("");
});

it("refuses a second set in one registry, and one that is no registry", () => {
  begin();
  expect(() => prometheusMetrics({ registry })).toThrow(/metric coord_\w+ already\. Call stop\(\)/);
  expect(() => prometheusMetrics({ registry: {} as never })).toThrow(
    /registry must be a Registry of prom-client/,
  );
});

it("leaves the registry as it was after stop, and can begin again", async () => {
  begin();
  metrics?.stop();
  expect(await registry.metrics()).toBe("\n");
  begin();
});
