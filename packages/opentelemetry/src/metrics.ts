import { bucketsSeconds, instruments, observe } from "@coord/metrics";
import type { Instrument, Labels, ObserveOptions } from "@coord/metrics";
import type { Meter } from "@opentelemetry/api";

/** Attributes under coord's own prefix, as there are no semantic conventions for locks. */
export const attributesOf = (labels: Labels): Record<string, string> =>
  Object.fromEntries(Object.entries(labels).map(([name, value]) => [`coord.${name}`, value]));

/** Makes the instruments on the meter and feeds them until the function that it returns is called. */
export function feedMeter(meter: Meter, options: ObserveOptions): () => void {
  const record = new Map<Instrument, (value: number, labels: Labels) => void>();
  const observing = observe(
    { record: (instrument, value, labels) => record.get(instrument)?.(value, labels) },
    options,
  );
  const ends: (() => void)[] = [() => observing.stop()];
  for (const instrument of Object.values<Instrument>(instruments)) {
    const { name, kind, unit, description } = instrument;
    const about = { unit, description };
    if (kind === "counter") {
      const counter = meter.createCounter(name, about);
      record.set(instrument, (value, labels) => counter.add(value, attributesOf(labels)));
    } else if (kind === "updown") {
      const counter = meter.createUpDownCounter(name, about);
      record.set(instrument, (value, labels) => counter.add(value, attributesOf(labels)));
    } else if (kind === "gauge") {
      const gauge = meter.createGauge(name, about);
      record.set(instrument, (value, labels) => gauge.record(value, attributesOf(labels)));
    } else if (kind === "histogram") {
      const advice = { explicitBucketBoundaries: [...bucketsSeconds] };
      const histogram = meter.createHistogram(name, { ...about, advice });
      record.set(instrument, (value, labels) => histogram.record(value, attributesOf(labels)));
    } else {
      const gauge = meter.createObservableGauge(name, about);
      const read: Parameters<typeof gauge.addCallback>[0] = (result) => {
        for (const { value, labels } of observing.read(instrument))
          result.observe(value, attributesOf(labels));
      };
      gauge.addCallback(read);
      ends.push(() => gauge.removeCallback(read));
    }
  }
  return () => {
    for (const end of ends) end();
  };
}
