import type { ObserveOptions } from "@coord/metrics";
import { metrics, trace } from "@opentelemetry/api";
import type { MeterProvider, TracerProvider } from "@opentelemetry/api";
import { feedMeter } from "./metrics.ts";
import { makeSpans } from "./spans.ts";

export interface OpenTelemetryOptions extends ObserveOptions {
  /** @default the global one */
  readonly meterProvider?: MeterProvider | undefined;
  /** @default the global one */
  readonly tracerProvider?: TracerProvider | undefined;
  /** Whether to make spans. @default true */
  readonly spans?: boolean | undefined;
}

/**
 * Reports metrics and spans of all coordinators, consumers and SQL sessions of this process. Call it after the
 * providers are registered. `stop()` ends it, and the spans that are open.
 *
 * @throws {TypeError} when `labelKey` is no function.
 */
export function instrumentCoord(options: OpenTelemetryOptions = {}): { stop(): void } {
  const {
    meterProvider = metrics.getMeterProvider(),
    tracerProvider = trace.getTracerProvider(),
    labelKey,
  } = options;
  const ends = [feedMeter(meterProvider.getMeter("coord"), { labelKey })];
  if (options.spans !== false) ends.push(makeSpans(tracerProvider.getTracer("coord"), { labelKey }));
  return {
    stop() {
      for (const end of ends) end();
    },
  };
}
