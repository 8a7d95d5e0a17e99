/** What each channel of coord says, in values of instruments. */
import type {
  AcquireEvent,
  ElectionEvent,
  EventBase,
  HoldEvent,
  LeaseEvent,
  NoticeEvent,
  OnceEvent,
  RenewEvent,
} from "@coord/core";
import type { QueueEvent } from "@coord/redis-streams/consumer";
import type { SqlEvent } from "@coord/sql";
import { instruments } from "./instruments.ts";
import type { Instrument, Labels, Observation } from "./instruments.ts";

type Failing<Event> = Event & { readonly error?: unknown };

/** Who publishes on a channel says what it carries. */
export interface Channels {
  "tracing:coord:acquire:asyncEnd": AcquireEvent;
  "tracing:coord:hold:start": HoldEvent;
  "tracing:coord:hold:asyncEnd": HoldEvent;
  "tracing:coord:renew:start": RenewEvent;
  "tracing:coord:renew:asyncEnd": RenewEvent;
  "tracing:coord:save:asyncEnd": Failing<LeaseEvent>;
  "tracing:coord:break:asyncEnd": Failing<LeaseEvent>;
  "tracing:coord:once:start": OnceEvent;
  "tracing:coord:once:asyncEnd": OnceEvent;
  "tracing:coord:resolve:asyncEnd": Failing<LeaseEvent>;
  "coord:notice": NoticeEvent;
  "coord:election": ElectionEvent;
  "coord:queue": QueueEvent;
  "coord:sql": SqlEvent;
}

export interface Sink {
  readonly on: <C extends keyof Channels>(channel: C, listener: (event: Channels[C]) => void) => void;
  readonly record: (instrument: Instrument, value: number, labels: Labels) => void;
  /** The label `key`, or none. */
  readonly keyLabel: (key: string, kind: string) => Labels;
}

const seconds = (milliseconds: number): number => milliseconds / 1000;

/** From the start of a trace to its end, both of which carry the same object. */
function stopwatch(): { start: (event: object) => void; readSeconds: (event: object) => number } {
  const begun = new WeakMap<object, number>();
  return {
    start: (event) => void begun.set(event, performance.now()),
    readSeconds(event) {
      const now = performance.now();
      return seconds(now - (begun.get(event) ?? now));
    },
  };
}

/** Answers with the age of the oldest lease held, for each set of labels that ever held one. */
export function leases({ on, record, keyLabel }: Sink): () => readonly Observation[] {
  const held = new Map<HoldEvent, { readonly since: number; readonly labels: Labels }>();
  const seen = new Map<string, Labels>();
  const labelsOf = ({ backend, namespace, kind, key }: EventBase): Labels => ({
    backend,
    namespace,
    kind,
    ...keyLabel(key, kind),
  });

  on("tracing:coord:acquire:asyncEnd", (event) => {
    const labels = labelsOf(event);
    const { waitedMs = 0, outcome = "failed", attempts } = event;
    record(instruments.leaseWait, seconds(waitedMs), { ...labels, outcome });
    if (attempts !== undefined) record(instruments.leaseAttempts, attempts, labels);
  });
  on("tracing:coord:hold:start", (event) => {
    const labels = labelsOf(event);
    held.set(event, { since: performance.now(), labels });
    seen.set(JSON.stringify(labels), labels);
    record(instruments.leaseHeld, 1, labels);
  });
  on("tracing:coord:hold:asyncEnd", (event) => {
    const labels = held.get(event)?.labels ?? labelsOf(event);
    const { outcome = "lost", heldMs = 0, reason = "deadline" } = event;
    if (held.delete(event)) record(instruments.leaseHeld, -1, labels);
    record(instruments.leaseHold, seconds(heldMs), { ...labels, outcome });
    if (outcome === "lost") record(instruments.leaseLost, 1, { ...labels, reason });
    else record(instruments.leaseSucceeded, seconds(Date.now()), labels);
  });
  on("tracing:coord:save:asyncEnd", (event) => {
    if (event.error === undefined) record(instruments.checkpoints, 1, labelsOf(event));
  });
  on("tracing:coord:break:asyncEnd", (event) => {
    if (event.error === undefined) record(instruments.leaseBroken, 1, labelsOf(event));
  });
  on("coord:notice", ({ notice }) => record(instruments.notices, 1, { notice }));

  return () => {
    const oldest = new Map<string, number>();
    for (const { since, labels } of held.values()) {
      const id = JSON.stringify(labels);
      oldest.set(id, Math.min(oldest.get(id) ?? Infinity, since));
    }
    const now = performance.now();
    return [...seen].map(([id, labels]) => ({ value: seconds(now - (oldest.get(id) ?? now)), labels }));
  };
}

export function renewals({ on, record }: Sink): void {
  const watch = stopwatch();
  on("tracing:coord:renew:start", watch.start);
  on("tracing:coord:renew:asyncEnd", (event) => {
    const { backend, namespace, leases: asked, lagMs, renewed = 0, lost = 0 } = event;
    const labels = { backend, namespace };
    // A batch without an answer says of none what became of it.
    const counts = { renewed, lost, unknown: event.unknown ?? asked - renewed - lost };
    for (const [outcome, count] of Object.entries(counts))
      if (count > 0) record(instruments.renewals, count, { ...labels, outcome });
    record(instruments.renewalLag, seconds(Math.max(0, lagMs)), labels);
    record(instruments.renewalDuration, watch.readSeconds(event), labels);
  });
}

export function executions({ on, record, keyLabel }: Sink): void {
  const watch = stopwatch();
  const labelsOf = ({ backend, namespace, key }: EventBase): Labels => ({
    backend,
    namespace,
    ...keyLabel(key, "execution"),
  });
  on("tracing:coord:once:start", watch.start);
  on("tracing:coord:once:asyncEnd", (event) => {
    const labels = labelsOf(event);
    const { outcome = "error", replayed = false } = event;
    const detailed = { ...labels, outcome, replayed: String(replayed) };
    record(instruments.executions, watch.readSeconds(event), detailed);
    if (outcome === "uncertain") record(instruments.uncertain, 1, labels);
  });
  on("tracing:coord:resolve:asyncEnd", (event) => {
    if (event.error === undefined) record(instruments.resolved, 1, labelsOf(event));
  });
}

export function elections({ on, record, keyLabel }: Sink): void {
  const terms = new Map<string, number>();
  on("coord:election", ({ backend, namespace, election, holder, event }) => {
    const labels = { backend, namespace, ...keyLabel(election, "election") };
    const id = JSON.stringify([backend, namespace, election, holder]);
    const since = terms.get(id);
    record(instruments.electionEvents, 1, { ...labels, event });
    if (event === "elected") {
      if (since === undefined) record(instruments.leader, 1, labels);
      terms.set(id, performance.now());
    } else if (since !== undefined && ["lost", "resigned", "stopped", "failed"].includes(event)) {
      terms.delete(id);
      record(instruments.leader, -1, labels);
      record(instruments.term, seconds(performance.now() - since), { ...labels, event });
    }
  });
}

export function queues({ on, record }: Sink): void {
  on("coord:queue", (event) => {
    const { stream, group } = event;
    const labels = { stream, group };
    switch (event.event) {
      case "read":
        record(instruments.queueRead, event.messages, { ...labels, source: event.source });
        if (event.source === "stale") record(instruments.queueClaimed, event.messages, labels);
        break;
      case "acked":
        record(instruments.queueAcked, event.messages, labels);
        break;
      case "handled":
        record(instruments.queueHandled, seconds(event.durationMs), { ...labels, outcome: event.outcome });
        record(instruments.queueWaited, seconds(Math.max(0, event.waitedMs)), labels);
        break;
      case "retry":
        record(instruments.queueRetried, 1, labels);
        break;
      case "dead":
        record(instruments.queueDead, 1, { ...labels, reason: event.reason });
        break;
      case "lost":
        record(instruments.queueLost, 1, { ...labels, reason: event.reason });
        break;
      case "trouble":
        record(instruments.queueTrouble, 1, labels);
        break;
      case "group-created":
    }
  });
}

export function sql({ on, record }: Sink): void {
  on("coord:sql", (event) => {
    const { dialect, kind } = event;
    switch (kind) {
      case "transaction":
        record(instruments.sqlTransaction, seconds(event.durationMs), { dialect, outcome: event.outcome });
        break;
      case "row-lock":
      case "advisory-lock":
        record(instruments.sqlLockWait, seconds(event.waitedMs), { dialect, kind, outcome: event.outcome });
        break;
      case "advisory-unlock":
        record(instruments.sqlLockHold, seconds(event.heldMs), { dialect, outcome: event.outcome });
        break;
      case "occ-retry":
        record(instruments.sqlRetries, 1, { dialect });
        break;
      case "occ-update":
      case "idempotent-insert":
      case "fenced-update":
      case "fenced-upsert": {
        const { table, outcome, durationMs } = event;
        record(instruments.sqlWrite, seconds(durationMs), { dialect, kind, table, outcome });
      }
    }
  });
}
