import { channel, tracingChannel } from "node:diagnostics_channel";
import type { Channel, TracingChannel } from "node:diagnostics_channel";
import type { LostReason } from "./errors.ts";

/** What every event carries. */
export interface EventBase {
  readonly backend: string;
  readonly namespace: string;
  readonly kind: string;
  readonly key: string;
}

/** `tracing:coord:acquire:*`: from the call to the grant or refusal; `waitedMs`, `attempts`, `outcome` at the end. */
export interface AcquireEvent extends EventBase {
  waitedMs?: number;
  /** Requests that were sent. */
  attempts?: number;
  outcome?: "granted" | "refused" | "timeout" | "aborted" | "unavailable" | "failed";
  fence?: bigint;
}

/** `tracing:coord:hold:start` at the grant and `:asyncEnd` when the handle ended. */
export interface HoldEvent extends EventBase {
  readonly fence: bigint;
  readonly ttlMs: number;
  heldMs?: number;
  outcome?: "released" | "lost" | "detached" | "lapsing" | "unconfirmed";
  /** Set where the outcome is `lost`. */
  reason?: LostReason;
}

/** `tracing:coord:renew:*`: one batch. */
export interface RenewEvent {
  readonly backend: string;
  readonly namespace: string;
  readonly leases: number;
  /** How much later than planned the most delayed of them was sent, in milliseconds. */
  readonly lagMs: number;
  renewed?: number;
  lost?: number;
  unknown?: number;
}

/** `tracing:coord:once:*`: one call of `once`. */
export interface OnceEvent extends EventBase {
  /** `failed`: a recorded failure was replayed; `threw`: the function threw now; absent where the call itself failed. */
  outcome?: "completed" | "running" | "uncertain" | "failed" | "threw";
  /** Whether the outcome was there before. */
  replayed?: boolean;
  /** Which run of this key it is or was, from 1. */
  attempt?: number;
  fence?: bigint;
}

/** `tracing:coord:save:*`, `tracing:coord:resolve:*` and `tracing:coord:break:*`. */
export interface LeaseEvent extends EventBase {
  readonly fence: bigint;
  readonly by?: string | undefined;
  readonly note?: string | undefined;
}

/** The plain channel `coord:notice`: what somebody should know, though no call failed. */
export interface NoticeEvent extends Partial<EventBase> {
  readonly notice:
    | "held-long"
    | "release-repeated"
    | "release-unconfirmed"
    | "clean-up"
    | "clean-up-skipped"
    | "push-unavailable";
  readonly fence?: bigint;
  readonly heldMs?: number;
  readonly pruned?: number;
  readonly offsetMs?: number;
  readonly error?: unknown;
}

/** The plain channel `coord:election`: what happens to one candidate. */
export interface ElectionEvent {
  readonly backend: string;
  readonly namespace: string;
  readonly election: string;
  readonly holder: string;
  /**
   * `stuck`: a callback goes on for too long, said again every minute; `error`: a callback or the store failed.
   * The election goes on in both cases.
   */
  readonly event: "standing" | "elected" | "lost" | "resigned" | "stopped" | "failed" | "stuck" | "error";
  readonly fence?: bigint;
  /** The callback that is stuck. */
  readonly callback?: "onElected" | "onLost" | "onCycle";
  readonly error?: unknown;
}

const tracing = <Context extends object>(verb: string): TracingChannel<Context, Context> =>
  tracingChannel<Context, Context>(`coord:${verb}`);

export const acquireChannel: TracingChannel<AcquireEvent, AcquireEvent> = tracing<AcquireEvent>("acquire");
export const holdChannel: TracingChannel<HoldEvent, HoldEvent> = tracing<HoldEvent>("hold");
export const renewChannel: TracingChannel<RenewEvent, RenewEvent> = tracing<RenewEvent>("renew");
export const saveChannel: TracingChannel<LeaseEvent, LeaseEvent> = tracing<LeaseEvent>("save");
export const breakChannel: TracingChannel<LeaseEvent, LeaseEvent> = tracing<LeaseEvent>("break");
export const onceChannel: TracingChannel<OnceEvent, OnceEvent> = tracing<OnceEvent>("once");
export const resolveChannel: TracingChannel<LeaseEvent, LeaseEvent> = tracing<LeaseEvent>("resolve");
const notices: Channel = channel("coord:notice");
const elections: Channel = channel("coord:election");

/** Whether anybody listens; `TracingChannel.hasSubscribers` itself is newer than Node 20. */
function heard<Context extends object>(on: TracingChannel<Context, Context>): boolean {
  return (
    on.start.hasSubscribers ||
    on.end.hasSubscribers ||
    on.asyncStart.hasSubscribers ||
    on.asyncEnd.hasSubscribers ||
    on.error.hasSubscribers
  );
}

/** Runs `run` inside a trace; what it writes into the context is what the end of the trace shows. */
export function traced<Context extends object, T>(
  on: TracingChannel<Context, Context>,
  context: Context,
  run: (context: Context) => Promise<T>,
): Promise<T> {
  return heard(on) ? on.tracePromise(() => run(context), context) : run(context);
}

export function notice(event: NoticeEvent): void {
  if (notices.hasSubscribers) notices.publish(event);
}

export function electionEvent(event: ElectionEvent): void {
  if (elections.hasSubscribers) elections.publish(event);
}
