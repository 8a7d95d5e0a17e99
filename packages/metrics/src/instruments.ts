/**
 * Everything that is measured, by names of the OpenTelemetry conventions: dotted, in base units, without a
 * suffix for the unit or the kind. An exporter for another system derives its own names from these.
 */
export interface Instrument {
  readonly name: string;
  /**
   * `counter`: values are added, never negative. `updown`: values are added. `gauge`: the last value counts.
   * `histogram`: values are put into buckets. `observed`: asked for whenever somebody reads the metrics.
   */
  readonly kind: "counter" | "updown" | "gauge" | "histogram" | "observed";
  /** By UCUM: `s` = seconds; what is counted stands in braces. */
  readonly unit: string;
  readonly description: string;
  /** Each value comes with all of these, and with `key` besides where somebody chose to label by key. */
  readonly labels: readonly string[];
  /** Whether its values belong to one key each. */
  readonly perKey: boolean;
}

export type Labels = Readonly<Record<string, string>>;

/** One value of an instrument that is read. */
export interface Observation {
  readonly value: number;
  readonly labels: Labels;
}

const of =
  (kind: Instrument["kind"]) =>
  (
    name: string,
    unit: string,
    description: string,
    labels: readonly string[],
    { perKey = false }: { readonly perKey?: boolean } = {},
  ): Instrument => ({ name: `coord.${name}`, kind, unit, description, labels, perKey });

const counter = of("counter");
const updown = of("updown");
const gauge = of("gauge");
const histogram = of("histogram");
const observed = of("observed");

const keyed = { perKey: true } as const;
const name = ["backend", "namespace", "kind"] as const;
const queue = ["stream", "group"] as const;

/** Bounds of the buckets of every histogram, in seconds: from a local round trip to a long lease. */
export const bucketsSeconds: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800,
];

type InstrumentId =
  | "leaseWait"
  | "leaseAttempts"
  | "leaseHold"
  | "leaseHeld"
  | "leaseHeldAge"
  | "leaseLost"
  | "leaseSucceeded"
  | "leaseBroken"
  | "checkpoints"
  | "renewals"
  | "renewalLag"
  | "renewalDuration"
  | "executions"
  | "uncertain"
  | "resolved"
  | "leader"
  | "electionEvents"
  | "term"
  | "queueRead"
  | "queueAcked"
  | "queueClaimed"
  | "queueHandled"
  | "queueWaited"
  | "queueRetried"
  | "queueDead"
  | "queueLost"
  | "queueTrouble"
  | "sqlWrite"
  | "sqlTransaction"
  | "sqlLockWait"
  | "sqlLockHold"
  | "sqlRetries"
  | "notices";

export const instruments: Readonly<Record<InstrumentId, Instrument>> = {
  leaseWait: histogram(
    "lease.wait",
    "s",
    "How long an acquire took, from the call to its outcome.",
    [...name, "outcome"],
    keyed,
  ),
  leaseAttempts: counter("lease.attempts", "{request}", "Requests that acquires sent.", name, keyed),
  leaseHold: histogram(
    "lease.hold",
    "s",
    "How long a lease was held, by how it ended.",
    [...name, "outcome"],
    keyed,
  ),
  leaseHeld: updown("lease.held", "{lease}", "Leases that this process holds now.", name, keyed),
  leaseHeldAge: observed(
    "lease.held.age",
    "s",
    "For how long this process holds its oldest lease; 0 when it holds none.",
    name,
    keyed,
  ),
  leaseLost: counter(
    "lease.lost",
    "{lease}",
    "Leases that were lost before they were released.",
    [...name, "reason"],
    keyed,
  ),
  leaseSucceeded: gauge(
    "lease.last_success.timestamp",
    "s",
    "When work under a lease last ended as it should, in seconds since 1970.",
    name,
    keyed,
  ),
  leaseBroken: counter("lease.broken", "{lease}", "Leases taken away by an operator here.", name, keyed),
  checkpoints: counter("lease.checkpoints", "{checkpoint}", "Checkpoints that were saved.", name, keyed),
  renewals: counter("lease.renewals", "{lease}", "Leases by what their renewal came to.", [
    "backend",
    "namespace",
    "outcome",
  ]),
  renewalLag: histogram("lease.renewal.lag", "s", "How much later than planned a renewal was sent.", [
    "backend",
    "namespace",
  ]),
  renewalDuration: histogram("lease.renewal.duration", "s", "How long a batch of renewals took.", [
    "backend",
    "namespace",
  ]),
  executions: histogram(
    "execution.duration",
    "s",
    "How long a call of once took, by its outcome, and whether the outcome was there before.",
    ["backend", "namespace", "outcome", "replayed"],
    keyed,
  ),
  uncertain: counter(
    "execution.uncertain",
    "{execution}",
    "Calls of once that could not tell what became of the work.",
    ["backend", "namespace"],
    keyed,
  ),
  resolved: counter(
    "execution.resolved",
    "{execution}",
    "Executions that an operator resolved here.",
    ["backend", "namespace"],
    keyed,
  ),
  leader: updown(
    "election.leader",
    "{term}",
    "Elections that this process leads now.",
    ["backend", "namespace"],
    keyed,
  ),
  electionEvents: counter(
    "election.events",
    "{event}",
    "What happened to candidates: elected, lost, resigned, stuck, …",
    ["backend", "namespace", "event"],
    keyed,
  ),
  term: histogram("election.term", "s", "How long a term lasted.", ["backend", "namespace", "event"], keyed),
  queueRead: counter(
    "queue.read",
    "{message}",
    "Messages read: new, own after a restart, or stale of others.",
    [...queue, "source"],
  ),
  queueAcked: counter("queue.acked", "{message}", "Messages acknowledged.", queue),
  queueClaimed: counter(
    "queue.claimed",
    "{message}",
    "Stale messages taken over from other consumers.",
    queue,
  ),
  queueHandled: histogram("queue.handler", "s", "How long a handler took.", [...queue, "outcome"]),
  queueWaited: histogram(
    "queue.wait",
    "s",
    "How long a message was in the stream before its handler.",
    queue,
  ),
  queueRetried: counter("queue.retried", "{message}", "Messages that will be delivered again.", queue),
  queueDead: counter("queue.dead", "{message}", "Messages that became dead letters.", [...queue, "reason"]),
  queueLost: counter("queue.lost", "{message}", "Deliveries that ended from outside.", [...queue, "reason"]),
  queueTrouble: counter("queue.trouble", "{error}", "Errors that a consumer went on after.", queue),
  sqlWrite: histogram("sql.write", "s", "How long a write of the toolkit took.", [
    "dialect",
    "kind",
    "table",
    "outcome",
  ]),
  sqlTransaction: histogram(
    "sql.transaction",
    "s",
    "How long a transaction took, with the wait for its connection.",
    ["dialect", "outcome"],
  ),
  sqlLockWait: histogram("sql.lock.wait", "s", "How long a row or advisory lock was waited for.", [
    "dialect",
    "kind",
    "outcome",
  ]),
  sqlLockHold: histogram("sql.lock.hold", "s", "How long an advisory lock was held.", ["dialect", "outcome"]),
  sqlRetries: counter("sql.retries", "{attempt}", "Attempts that withOccRetry repeated.", ["dialect"]),
  notices: counter("notices", "{notice}", "What somebody should know, though no call failed.", ["notice"]),
};
