import { createCoordinator, memoryBackend } from "@coord/core";
import type { Coordinator } from "@coord/core";
import { SpanStatusCode } from "@opentelemetry/api";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import type { MetricData } from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { afterEach, beforeEach, expect, it } from "vitest";
import { instrumentCoord } from "../src/index.ts";
import type { OpenTelemetryOptions } from "../src/index.ts";

const spanExporter = new InMemorySpanExporter();
const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spanExporter)] });
let metricExporter: InMemoryMetricExporter;
let reader: PeriodicExportingMetricReader;
let coord: Coordinator;
let stop: () => void;

function begin(options: OpenTelemetryOptions = {}): void {
  metricExporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  reader = new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: 3_600_000 });
  const meterProvider = new MeterProvider({ readers: [reader] });
  const instrumentation = instrumentCoord({ meterProvider, tracerProvider, ...options });
  stop = () => instrumentation.stop();
}

async function metric(name: string): Promise<MetricData | undefined> {
  await reader.forceFlush();
  const last = metricExporter.getMetrics().at(-1);
  return last?.scopeMetrics
    .flatMap(({ metrics }) => metrics)
    .find(({ descriptor }) => descriptor.name === name);
}

beforeEach(() => {
  spanExporter.reset();
  coord = createCoordinator({ backend: memoryBackend(), namespace: "billing", cleanUp: false });
});

afterEach(async () => {
  stop();
  await reader.shutdown();
  await coord.close();
});

it("reports metrics with units, under attributes of its own prefix", async () => {
  begin();
  const lease = await coord.acquire("invoice:42");
  const wait = await metric("coord.lease.wait");
  const attributes = { "coord.backend": "memory", "coord.namespace": "billing", "coord.kind": "lease" };
  expect(wait?.descriptor.unit).toBe("s");
  expect(wait?.dataPoints).toMatchObject([
    { attributes: { ...attributes, "coord.outcome": "granted" }, value: { count: 1 } },
  ]);
  expect((await metric("coord.lease.held"))?.dataPoints).toMatchObject([{ attributes, value: 1 }]);
  expect((await metric("coord.lease.held.age"))?.dataPoints[0]?.value).toBeGreaterThanOrEqual(0);
  await lease.release();
  expect((await metric("coord.lease.held"))?.dataPoints).toMatchObject([{ value: 0 }]);
});

it("makes a span for the wait and one for the lease, with the fence and without the key", async () => {
  begin();
  const lease = await coord.acquire("invoice:42");
  await lease.release();
  const spans = spanExporter.getFinishedSpans();
  expect(spans.map(({ name }) => name).toSorted()).toEqual(["coord acquire", "coord lease"]);
  for (const { attributes } of spans) {
    expect(attributes["coord.fence"]).toBe(lease.fence.toString());
    expect(attributes).not.toHaveProperty("coord.key");
  }
});

it("shows keys only as far as a function shows them", async () => {
  begin({ labelKey: (key) => key.split(":")[0] });
  await coord.withLease("invoice:42", () => {});
  expect(spanExporter.getFinishedSpans().map(({ attributes }) => attributes["coord.key"])).toEqual([
    "invoice",
    "invoice",
  ]);
});

it("marks a wait that timed out and a lease that was lost as errors", async () => {
  begin();
  const lease = await coord.acquire("a", { ttlMs: 1000 });
  await expect(coord.acquire("a", { waitMs: 10 })).rejects.toThrow();
  await coord.breakLease("a", { fence: lease.fence, by: "operator", now: true });
  await expect(lease.save("x")).rejects.toThrow();
  const errors = spanExporter.getFinishedSpans().filter(({ status }) => status.code === SpanStatusCode.ERROR);
  expect(errors.map(({ name }) => name).toSorted()).toEqual([
    "coord acquire",
    "coord checkpoint",
    "coord lease",
  ]);
});

it("makes no spans when told so, and nothing after stop", async () => {
  begin({ spans: false });
  await coord.withLease("a", () => {});
  expect(spanExporter.getFinishedSpans()).toEqual([]);
  stop();
  await coord.withLease("a", () => {});
  expect((await metric("coord.lease.hold"))?.dataPoints).toMatchObject([{ value: { count: 1 } }]);
});
