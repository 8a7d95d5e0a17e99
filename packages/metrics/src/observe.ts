import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { instruments } from "./instruments.ts";
import type { Instrument, Labels, Observation } from "./instruments.ts";
import { elections, executions, leases, queues, renewals, sql } from "./sources.ts";
import type { Sink } from "./sources.ts";

/** Takes what was measured to a metrics library. */
export interface Recorder {
  record(instrument: Instrument, value: number, labels: Labels): void;
}

export interface ObserveOptions {
  /**
   * The value of the label `key` for the name of a lease, an execution or an election; `undefined` = none. Keys are
   * often without number, and each value is a time series of its own: return one of a few, for instance what
   * stands before the first colon. @default no label `key`
   */
  readonly labelKey?: ((key: string, kind: string) => string | undefined) | undefined;
}

export interface Observing {
  /** What an instrument of kind `observed` has to say now. */
  read(instrument: Instrument): readonly Observation[];
  /** Ends all subscriptions. */
  stop(): void;
}

/**
 * Subscribes to the channels of coord in this process and hands each value to `recorder`, from every coordinator
 * and every backend. An error of the recorder or of `labelKey` is told once, as a warning of the process, and costs
 * nobody their lease.
 *
 * @throws {TypeError} when `labelKey` is no function.
 */
export function observe(recorder: Recorder, { labelKey }: ObserveOptions = {}): Observing {
  if (labelKey !== undefined && typeof labelKey !== "function")
    throw new TypeError(
      `labelKey must be a function (key, kind) => string, got ${typeof labelKey}. Leave it out for no label.`,
    );
  const listeners: (readonly [string, (message: unknown) => void])[] = [];
  let warned = false;

  function warn(error: unknown): void {
    if (warned) return;
    warned = true;
    process.emitWarning(
      `A metric of coord could not be recorded; this is said once: ${String(error)}`,
      "CoordWarning",
    );
  }

  const sink: Sink = {
    on(channel, listener) {
      // An error would come to the surface as an uncaught exception.
      const guarded = (message: unknown): void => {
        try {
          // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a channel has no types of its own
          listener(message as Parameters<typeof listener>[0]);
        } catch (error) {
          warn(error);
        }
      };
      listeners.push([channel, guarded]);
    },
    record: (instrument, value, labels) => recorder.record(instrument, value, labels),
    keyLabel: (key, kind) => (labelKey === undefined ? {} : { key: labelKey(key, kind) ?? "" }),
  };
  const heldAges = leases(sink);
  for (const source of [renewals, executions, elections, queues, sql]) source(sink);
  for (const [channel, listener] of listeners) subscribe(channel, listener);
  return {
    read: (instrument) => (instrument === instruments.leaseHeldAge ? heldAges() : []),
    stop() {
      for (const [channel, listener] of listeners) unsubscribe(channel, listener);
    },
  };
}
