import { bucketsSeconds, instruments, observe } from "@coord/metrics";
import type { Instrument, ObserveOptions } from "@coord/metrics";
import { Counter, Gauge, Histogram, register } from "prom-client";
import type { Registry } from "prom-client";

export interface PrometheusOptions extends ObserveOptions {
  /** @default prom-client's own `register` */
  readonly registry?: Registry | undefined;
  /** Upper bounds of the buckets of all histograms, in seconds, rising. @default 1 ms to 30 min */
  readonly bucketsSeconds?: readonly number[] | undefined;
}

/** By the conventions of Prometheus: base unit and kind at the end of the name, no dots. */
export function metricName({ name, kind, unit }: Instrument): string {
  const base = name.replaceAll(".", "_");
  const inUnit = unit === "s" ? `${base}_seconds` : base;
  return kind === "counter" ? `${inUnit}_total` : inUnit;
}

/**
 * Registers the metrics of coord and keeps them up to date, for all coordinators, consumers and SQL sessions of this
 * process. `stop()` ends that and takes them out of the registry.
 *
 * @throws {TypeError} when an option has the wrong type.
 * @throws {Error} when the registry has metrics of these names already.
 */
export function prometheusMetrics(options: PrometheusOptions = {}): { stop(): void } {
  const { registry = register, labelKey } = options;
  if (typeof registry?.registerMetric !== "function")
    throw new TypeError(
      `registry must be a Registry of prom-client, got ${typeof registry}. Leave it out for the default one.`,
    );
  const all: readonly Instrument[] = Object.values(instruments);
  const taken = all.map(metricName).find((name) => registry.getSingleMetric(name) !== undefined);
  if (taken !== undefined)
    throw new Error(
      `The registry has a metric ${taken} already. Call stop() of the first before you begin again, or pass another registry.`,
    );

  const record = new Map<Instrument, (value: number, labels: Readonly<Record<string, string>>) => void>();
  const observing = observe(
    { record: (instrument, value, labels) => record.get(instrument)?.(value, labels) },
    { labelKey },
  );
  for (const instrument of all) {
    const labelNames = [
      ...instrument.labels,
      ...(instrument.perKey && labelKey !== undefined ? ["key"] : []),
    ];
    const config = {
      name: metricName(instrument),
      help: instrument.description,
      labelNames,
      registers: [registry],
    };
    if (instrument.kind === "counter") {
      const counter = new Counter(config);
      record.set(instrument, (value, labels) => counter.inc(labels, value));
    } else if (instrument.kind === "histogram") {
      const histogram = new Histogram({
        ...config,
        buckets: [...(options.bucketsSeconds ?? bucketsSeconds)],
      });
      record.set(instrument, (value, labels) => histogram.observe(labels, value));
    } else if (instrument.kind === "observed") {
      const gauge: Gauge = new Gauge({
        ...config,
        collect() {
          gauge.reset();
          for (const { value, labels } of observing.read(instrument)) gauge.set(labels, value);
        },
      });
    } else {
      const gauge = new Gauge(config);
      const isSet = instrument.kind === "gauge";
      record.set(instrument, (value, labels) =>
        isSet ? gauge.set(labels, value) : gauge.inc(labels, value),
      );
    }
  }
  return {
    stop() {
      observing.stop();
      for (const instrument of all) registry.removeSingleMetric(metricName(instrument));
    },
  };
}
