import type { Grant, ReleaseResult, RenewOutcome, RenewRequest } from "./backend.ts";
import { call, callLimitMs, untilKnown } from "./call.ts";
import type { Runtime } from "./call.ts";
import type { Deadlines, Timed } from "./deadline.ts";
import { LeaseLostError, UnavailableError } from "./errors.ts";
import type { LostReason } from "./errors.ts";
import { holdChannel, notice } from "./events.ts";
import type { EventBase, HoldEvent } from "./events.ts";
import type { KnownHeld } from "./known-held.ts";
import type { Line } from "./line.ts";
import { renewEveryMs } from "./renewer.ts";
import type { Renewable, Renewer } from "./renewer.ts";
import type { Register } from "./register.ts";
import type { Kind } from "./validate.ts";

/** What looks after all that one coordinator holds. */
export interface Keepers extends Runtime {
  readonly deadlines: Deadlines;
  readonly renewer: Renewer;
  readonly line: Line;
  /** What is held now; a close ends it. */
  readonly holdings: Register<Holding>;
  /** Absent unless somebody asked for it. */
  readonly knownHeld?: KnownHeld | undefined;
}

export interface Granted {
  readonly grant: Grant;
  readonly kind: Kind;
  /** As its user knows it. */
  readonly key: string;
  readonly ttlMs: number;
  readonly retainMs: number | null;
  /** When the request was sent, on the coordinator's clock: the store's expiry is never before this + ttl. */
  readonly sentAt: number;
  /** @default none */
  readonly maxHoldMs?: number | undefined;
  /** @default true */
  readonly renews?: boolean | undefined;
}

export type HoldingState = "held" | "lost" | "ended";

const heldLongMs = 600_000;

/**
 * How long before the store's expiry the holder stops: room for timers that are late, a loop that is blocked
 * and clocks that run up to 0.1 % apart.
 */
export const marginMs = (ttlMs: number): number => Math.max(50, Math.min(ttlMs / 10, 1000)) + ttlMs / 1000;

const lostText: Readonly<Record<LostReason, string>> = {
  deadline: "it could not be renewed before its deadline",
  refused: "the store says that it is over or somebody else's",
  overheld: "maxHoldMs has passed",
  closed: "the coordinator was closed",
  released: "it was released",
  detached: "it was detached, to be adopted elsewhere",
};

/** One grant in this process: its deadline, its renewal, its signal, its end. */
export class Holding implements Renewable, Timed {
  readonly granted: Granted;
  readonly marginMs: number;
  dueAt: number;
  alone = false;
  readonly #keepers: Keepers;
  readonly #heldSince: number;
  readonly #event: HoldEvent;
  #validUntil: number;
  /** The latest instant at which the store may still hold it for us. */
  #expiresBefore: number;
  #state: HoldingState = "held";
  #ending: { reason: LostReason; cause?: unknown } | undefined;
  #lostError: LeaseLostError | undefined;
  #controller: AbortController | undefined;
  #heldLongEvents = 0;

  constructor(keepers: Keepers, granted: Granted, base: EventBase) {
    this.#keepers = keepers;
    this.granted = granted;
    this.marginMs = marginMs(granted.ttlMs);
    this.#heldSince = granted.sentAt;
    this.#validUntil = this.#deadline(granted.sentAt, granted.ttlMs);
    this.#expiresBefore = keepers.clock.now() + granted.ttlMs;
    this.dueAt = granted.sentAt + renewEveryMs(granted.ttlMs);
    this.#event = { ...base, fence: granted.grant.fence, ttlMs: granted.ttlMs };
  }

  /** Begins to renew and to watch the deadline; false if it is too late already. */
  start(): boolean {
    const { clock, deadlines, renewer, holdings, line, knownHeld } = this.#keepers;
    if (clock.now() >= this.#validUntil) return false;
    holdings.add(this);
    line.held(this.granted.grant.name);
    knownHeld?.forget(this.granted.grant.name);
    deadlines.add(this);
    if (this.granted.renews !== false) renewer.add(this);
    holdChannel.start.publish(this.#event);
    return true;
  }

  get request(): RenewRequest {
    return { ...this.granted.grant, ttlMs: this.granted.ttlMs };
  }

  get endsAt(): number {
    return this.#validUntil;
  }

  get state(): HoldingState {
    this.check(this.#keepers.clock.now());
    return this.#state;
  }

  get remainingMs(): number {
    return this.state === "held" ? Math.max(0, this.#validUntil - this.#keepers.clock.now()) : 0;
  }

  get heldMs(): number {
    return this.#keepers.clock.now() - this.#heldSince;
  }

  /** Aborts before the store may hand the lease on, and when it is released. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#state !== "held") this.#controller.abort(this.#error());
    }
    return this.#controller.signal;
  }

  /** Why it was lost; undefined while it is held and after its holder ended it. */
  get lost(): LeaseLostError | undefined {
    return this.state === "lost" ? this.#error() : undefined;
  }

  /** Looks at the clock, not at a flag. */
  assertHeld(): void {
    if (this.state !== "held") throw this.#error();
  }

  check(now: number): void {
    if (this.#state !== "held") return;
    if (now >= this.#validUntil) {
      const { maxHoldMs } = this.granted;
      this.lose(maxHoldMs !== undefined && now >= this.#heldSince + maxHoldMs ? "overheld" : "deadline");
      return;
    }
    const heldMs = now - this.#heldSince;
    if (heldMs < heldLongMs * (this.#heldLongEvents + 1)) return;
    this.#heldLongEvents += 1;
    notice({ ...this.#event, notice: "held-long", heldMs });
  }

  answered(outcome: RenewOutcome, sentAt: number): void {
    if (this.#state !== "held") return;
    if (outcome === "lost") this.lose("refused");
    else if (outcome === "renewed") this.extend(sentAt, this.granted.ttlMs);
  }

  /** A renewal that was sent at `sentAt` was confirmed. The deadline only grows, and lost is final. */
  extend(sentAt: number, ttlMs: number): void {
    this.check(this.#keepers.clock.now());
    if (this.#state !== "held") return;
    this.#validUntil = Math.max(this.#validUntil, this.#deadline(sentAt, ttlMs));
    this.#expiresBefore = Math.max(this.#expiresBefore, this.#keepers.clock.now() + ttlMs);
    this.dueAt = sentAt + renewEveryMs(this.granted.ttlMs);
  }

  /** One renewal now, with a payload if given; repeated while unknown, until the deadline. */
  async renewNow(ttlMs: number, payload?: { text: string; seq: number }): Promise<void> {
    const { host, clock, backend } = this.#keepers;
    this.assertHeld();
    const request = {
      ...this.granted.grant,
      ttlMs,
      ...(payload && { payload: payload.text, payloadSeq: payload.seq }),
    };
    await untilKnown(this.#keepers, { until: this.#validUntil }, async () => {
      const sentAt = clock.now();
      const limitMs = Math.min(callLimitMs(this.granted.ttlMs), Math.max(1, this.#validUntil - sentAt));
      const [outcome] = await call(host, { what: `renew of "${this.granted.key}"`, limitMs }, (options) =>
        backend.renew([request], options),
      );
      if (outcome === "lost") this.lose("refused");
      this.assertHeld();
      if (outcome !== "renewed") {
        throw new UnavailableError(
          `The record of "${this.granted.key}" is locked by a transaction; not renewed.`,
        );
      }
      this.extend(sentAt, ttlMs);
    }).catch((error: unknown) => {
      this.assertHeld();
      throw error;
    });
  }

  /** It was not its holder who ended it: the signal aborts, and nothing makes it held again. */
  lose(reason: LostReason, cause?: unknown): void {
    if (this.#state !== "held") return;
    this.#state = "lost";
    this.#end(reason, cause);
    this.#closeEvent("lost", reason);
    this.#keepers.line.ended(this.granted.grant.name);
  }

  /** Its holder ends it without a release: handed over, or left to lapse. */
  leave(outcome: "detached" | "lapsing"): void {
    if (this.#state !== "held") return;
    this.#state = "ended";
    this.#end("detached");
    this.#closeEvent(outcome);
    this.#keepers.line.ended(this.granted.grant.name);
  }

  /**
   * Ends it in the store, and gives its answer. The signal aborts first. `lost` as the first answer is a lost
   * lease; as the answer to a repeat it counts as released, as the lost answer may have been the release
   * itself. Unconfirmed, it is repeated in the background until it would lapse, or for `repeatMs`.
   */
  async release({
    repeatMs = 0,
    ...outcome
  }: {
    sealed: boolean;
    payload?: string | undefined;
    retainMs: number | null;
    repeatMs?: number | undefined;
  }): Promise<ReleaseResult> {
    const { host, clock, backend, background, line } = this.#keepers;
    const wasHeld = this.state === "held";
    if (wasHeld) {
      this.#state = "ended";
      this.#end("released");
    }
    const { grant, key, ttlMs } = this.granted;
    const request = { name: grant.name, grantId: grant.grantId, fence: grant.fence, ...outcome };
    const last = Math.max(this.#expiresBefore, clock.now() + repeatMs);
    let repeated = false;
    const send = (): Promise<ReleaseResult> =>
      call(host, { what: `release of "${key}"`, limitMs: callLimitMs(ttlMs) }, (options) =>
        backend.release(request, options),
      );
    const sendUntil = (until: number, keepAlive: boolean): Promise<ReleaseResult> =>
      untilKnown(this.#keepers, { until, keepAlive }, async (attempt) => {
        if (attempt > 1 && !repeated) {
          repeated = true;
          notice({ ...this.#event, notice: "release-repeated" });
        }
        return send();
      });
    try {
      const result = await sendUntil(Math.min(last, clock.now() + 2 * callLimitMs(ttlMs)), true);
      if (result.outcome === "lost" && !repeated && wasHeld) {
        this.#state = "lost";
        this.#ending = { reason: "refused" };
        this.#closeEvent("lost", "refused");
        return result;
      }
      if (wasHeld) this.#closeEvent("released");
      return result;
    } catch (error) {
      if (wasHeld) this.#closeEvent("unconfirmed");
      notice({ ...this.#event, notice: "release-unconfirmed", error });
      // It ends by itself with the ttl; until then others need not wait for that.
      repeated = true;
      background.run(() => sendUntil(last, false).finally(() => line.ended(grant.name)));
      throw error;
    } finally {
      line.ended(grant.name);
    }
  }

  #deadline(sentAt: number, ttlMs: number): number {
    const { maxHoldMs = Infinity } = this.granted;
    return Math.min(sentAt + ttlMs - this.marginMs, this.#heldSince + maxHoldMs);
  }

  #end(reason: LostReason, cause?: unknown): void {
    const { deadlines, renewer, holdings } = this.#keepers;
    deadlines.delete(this);
    renewer.delete(this);
    holdings.delete(this);
    this.#ending = { reason, cause };
    this.#controller?.abort(this.#error());
  }

  /** Made when somebody asks for it: most holdings end well, and a stack trace is dear. */
  #error(): LeaseLostError {
    if (this.#lostError !== undefined) return this.#lostError;
    const { key, grant, ttlMs } = this.granted;
    const { reason, cause } = this.#ending ?? { reason: "deadline" };
    const message = `The lease "${key}" (fence ${grant.fence}, ttl ${ttlMs} ms) is not held any more: ${lostText[reason]}.`;
    const options = cause === undefined ? {} : { cause };
    this.#lostError = new LeaseLostError({ key, fence: grant.fence }, reason, message, options);
    return this.#lostError;
  }

  #closeEvent(outcome: NonNullable<HoldEvent["outcome"]>, reason?: LostReason): void {
    this.#event.outcome = outcome;
    this.#event.heldMs = this.heldMs;
    if (reason !== undefined) this.#event.reason = reason;
    holdChannel.asyncEnd.publish(this.#event);
  }
}
