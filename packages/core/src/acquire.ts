import type { AcquireRequest, AcquireResult, Name, Subscription } from "./backend.ts";
import { call, callLimitMs, untilKnown } from "./call.ts";
import type { Runtime } from "./call.ts";
import { pause, sleep } from "./clock.ts";
import { AcquireTimeoutError, isCoordError, UnavailableError } from "./errors.ts";
import { acquireChannel, notice, traced } from "./events.ts";
import type { AcquireEvent } from "./events.ts";
import { Holding } from "./holding.ts";
import type { Keepers } from "./holding.ts";
import { storedName } from "./validate.ts";
import type { Kind } from "./validate.ts";

/** One acquisition, with everything checked. */
export interface AcquireSpec extends Pick<
  AcquireRequest,
  "holder" | "ttlMs" | "sealed" | "payload" | "retainMs" | "ifFence" | "from" | "withPayload"
> {
  readonly kind: Kind;
  /** As its user knows it. */
  readonly key: string;
  /** 0 = one try; `Infinity` = until the signal aborts. */
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly maxHoldMs?: number | undefined;
  readonly renews?: boolean | undefined;
  /** Whether to wait after this refusal. @default unless a hand-over or `ifFence` was refused */
  readonly waitsAfter?: ((refused: Refused) => boolean) | undefined;
  /** Told of each request that failed or was not answered; it is sent again all the same while that helps. */
  readonly onFailure?: ((error: unknown) => void) | undefined;
  /**
   * Undoes an acquisition whose answer nobody waits for; repeated until it is answered.
   * @default a release, whatever its fence, repeated for a ttl
   */
  readonly giveBack?: ((grantId: string) => Promise<unknown>) | undefined;
}

export type Refused = Extract<AcquireResult, { outcome: "refused" }>;
export type Obtained =
  | { readonly holding: Holding; readonly payload: string | undefined }
  | { readonly holding?: undefined; readonly refused: Refused };

const pushedPollMs = 5000;
const fairPauseMs = 10;
const resubscribeMs = 30_000;
const defaultPollMs = 100;

/** Waits for a name to become free: by push where there is some, by polling where there is none. */
export class Waiter {
  readonly #runtime: Runtime;
  readonly #name: Name;
  #subscription: Subscription | undefined;
  #subscribeAt = 0;
  #woken = false;
  #wake: (() => void) | undefined;

  constructor(runtime: Runtime, name: Name) {
    this.#runtime = runtime;
    this.#name = name;
  }

  /** True if a subscription began just now: whatever was free before must be tried once more. */
  async subscribe(signal: AbortSignal | undefined): Promise<boolean> {
    const { backend, host, clock } = this.#runtime;
    const watch = backend.watch?.bind(backend);
    if (watch === undefined || this.#subscription !== undefined || clock.now() < this.#subscribeAt)
      return false;
    this.#subscribeAt = clock.now() + resubscribeMs;
    try {
      const onWake = (): void => {
        this.#woken = true;
        this.#wake?.();
      };
      const spec = {
        what: "watch",
        limitMs: pushedPollMs,
        signal,
        onLate: (late: Subscription) => void late.close().catch(() => undefined),
      };
      this.#subscription = await call(host, spec, (options) => watch(this.#name, onWake, options));
      return true;
    } catch (error) {
      if (signal?.aborted) throw error;
      notice({ notice: "push-unavailable", backend: backend.info.name, error });
      return false;
    }
  }

  /** Waits for a wake-up or until the next try is due, `remainingMs` from now at the latest. */
  async wait(remainingMs: number, untilMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { backend, host } = this.#runtime;
    const pollMs = this.#subscription?.live ? pushedPollMs : (backend.info.pollMs ?? defaultPollMs);
    const jittered = pollMs * (0.5 + host.random());
    // An answer of 0 ms left says that it has just become free.
    const delayMs = Math.min(jittered, Math.max(1, remainingMs), untilMs);
    if (!this.#woken) {
      const waiting = pause(host, delayMs, signal);
      this.#wake = waiting.end;
      await waiting.over;
      this.#wake = undefined;
    }
    this.#woken = false;
  }

  close(): void {
    void this.#subscription?.close().catch(() => undefined);
    this.#subscription = undefined;
  }
}

/** Acquires, or says why not; waits in the local line and then at the store, up to `waitMs`. */
export function obtain(keepers: Keepers, spec: AcquireSpec): Promise<Obtained> {
  const { backend, namespace, clock } = keepers;
  const event: AcquireEvent = { backend: backend.info.name, namespace, kind: spec.kind, key: spec.key };
  return traced(acquireChannel, event, async (context) => {
    const began = clock.now();
    context.attempts = 0;
    try {
      const obtained = await (spec.waitMs === 0 ? tryOnce : waitInLine)(keepers, spec, context);
      context.outcome = obtained.holding === undefined ? "refused" : "granted";
      if (obtained.holding !== undefined) context.fence = obtained.holding.granted.grant.fence;
      return obtained;
    } catch (error) {
      context.outcome = spec.signal?.aborted
        ? "aborted"
        : error instanceof AcquireTimeoutError
          ? "timeout"
          : isCoordError(error, "COORD_UNAVAILABLE")
            ? "unavailable"
            : "failed";
      throw error;
    } finally {
      context.waitedMs = clock.now() - began;
    }
  });
}

/** One question, with time for one repeat should its answer be lost. */
async function tryOnce(keepers: Keepers, spec: AcquireSpec, context: AcquireEvent): Promise<Obtained> {
  const { clock, namespace } = keepers;
  const name = storedName(namespace, spec.kind, spec.key);
  const knownHeld = spec.kind === "lease" && spec.from === undefined ? keepers.knownHeld : undefined;
  const refused = knownHeld?.find(name);
  if (refused !== undefined) return { refused };
  const askedAt = clock.now();
  const obtained = await attempt(keepers, spec, askedAt + 2 * callLimitMs(spec.ttlMs), context);
  knownHeld?.note(name, obtained.holding === undefined ? obtained.refused : undefined, askedAt);
  return obtained;
}

async function waitInLine(keepers: Keepers, spec: AcquireSpec, context: AcquireEvent): Promise<Obtained> {
  const { clock, host, line, namespace } = keepers;
  const { signal, waitMs } = spec;
  const until = clock.now() + waitMs;
  const name = storedName(namespace, spec.kind, spec.key);
  const place = line.enter(name);
  let waiter: Waiter | undefined;
  let refused: Refused | undefined;
  const checkTime = (): void => {
    signal?.throwIfAborted();
    if (clock.now() >= until) throw timeout(spec, refused);
  };
  try {
    for (;;) {
      while (place.blocked()) {
        const waiting = pause(host, until - clock.now(), signal);
        place.onChange(waiting.end);
        await waiting.over;
        checkTime();
      }
      if (place.unfair()) await sleep(host, fairPauseMs, signal);
      const obtained = await attempt(keepers, spec, until, context);
      if (obtained.holding !== undefined) return obtained;
      refused = obtained.refused;
      // Whoever waits cannot be helped by waiting if the record asked for is not there any more.
      const { from, ifFence, waitsAfter = () => from === undefined && ifFence === undefined } = spec;
      if (!waitsAfter(refused)) return obtained;
      waiter ??= new Waiter(keepers, name);
      if (await waiter.subscribe(signal)) continue;
      await waiter.wait(refused.remainingMs || Infinity, until - clock.now(), signal);
      checkTime();
    }
  } finally {
    waiter?.close();
    place.leave();
  }
}

function timeout(spec: AcquireSpec, refused: Refused | undefined): AcquireTimeoutError {
  const holder = refused?.record?.holder;
  const remainingMs = refused?.remainingMs ?? 0;
  const why =
    refused === undefined
      ? "this process holds it, or others of it were first in line"
      : refused.reason === "sealed"
        ? "it is sealed until somebody resolves it"
        : `held by ${holder === undefined || holder === "" ? "somebody else" : holder} for another ${Math.round(remainingMs)} ms unless renewed`;
  return new AcquireTimeoutError(`"${spec.key}" was not free within waitMs (${spec.waitMs}): ${why}.`, {
    key: spec.key,
    holder,
    remainingMs,
  });
}

/** One question to the store, repeated while the answer is unknown. */
async function attempt(
  keepers: Keepers,
  spec: AcquireSpec,
  until: number,
  context: AcquireEvent,
): Promise<Obtained> {
  const { host, clock, backend, namespace } = keepers;
  const name = storedName(namespace, spec.kind, spec.key);
  const { holder, ttlMs, sealed, payload, retainMs, ifFence, from, withPayload, signal } = spec;
  const limitMs = callLimitMs(ttlMs);
  for (;;) {
    const grantId = host.randomId();
    const request = { name, grantId, holder, ttlMs, sealed, payload, retainMs, ifFence, from, withPayload };
    let sentAt = clock.now();
    let unanswered = false;
    // Set once nobody will use a grant of this id; until then a late answer is one more answer to what is used.
    let useless = false;
    let result: AcquireResult;
    try {
      result = await untilKnown(keepers, { until: Math.max(until, sentAt + limitMs), signal }, async () => {
        sentAt = clock.now();
        unanswered = true;
        context.attempts = (context.attempts ?? 0) + 1;
        const onLate = (late: AcquireResult): void => {
          if (useless && late.outcome === "granted") giveBack(keepers, spec, grantId);
        };
        const answer = await call(
          host,
          { what: `acquire of "${spec.key}"`, limitMs, signal, onLate },
          (options) => backend.acquire(request, options),
        ).catch((error: unknown) => {
          if (!signal?.aborted) spec.onFailure?.(error);
          throw error;
        });
        unanswered = false;
        return answer;
      });
    } catch (error) {
      useless = true;
      const nothingSent = error instanceof UnavailableError && error.notDone && context.attempts === 1;
      if (unanswered && !nothingSent) giveBack(keepers, spec, grantId);
      throw error;
    }
    if (result.outcome === "granted") {
      const granted = {
        grant: { name, grantId, fence: result.fence },
        kind: spec.kind,
        key: spec.key,
        ttlMs,
        retainMs,
        sentAt,
        maxHoldMs: spec.maxHoldMs,
        renews: spec.renews,
      };
      const holding = new Holding(keepers, granted, {
        backend: backend.info.name,
        namespace,
        kind: spec.kind,
        key: spec.key,
      });
      if (signal?.aborted) {
        useless = true;
        giveBack(keepers, spec, grantId);
        signal.throwIfAborted();
      }
      if (holding.start()) return { holding, payload: result.payload };
      useless = true;
      // Answered too late to be of use: given back, and tried anew under a fresh id.
      await sendRelease(keepers, spec, grantId, result.fence).catch(() => giveBack(keepers, spec, grantId));
    } else if (result.reason === "spent" && result.record !== null) {
      // A reply of ours was lost and the lease lapsed meanwhile; nothing ran under it.
      useless = true;
      const { fence } = result.record;
      await sendRelease(keepers, spec, grantId, fence).catch(() => giveBack(keepers, spec, grantId));
    } else {
      useless = true;
      return { refused: result };
    }
    signal?.throwIfAborted();
    if (clock.now() >= Math.max(until, sentAt + limitMs))
      throw new UnavailableError(
        `acquire of "${spec.key}": the store answers too late for a ttl of ${ttlMs} ms.`,
      );
  }
}

function sendRelease(
  { host, backend, namespace }: Runtime,
  spec: AcquireSpec,
  grantId: string,
  fence: bigint | null,
): Promise<unknown> {
  const name = storedName(namespace, spec.kind, spec.key);
  const request = { name, grantId, fence, sealed: false, retainMs: spec.retainMs };
  return call(host, { what: `release of "${spec.key}"`, limitMs: callLimitMs(spec.ttlMs) }, (options) =>
    backend.release(request, options),
  );
}

/** A win that nobody waits for any more must not block others for a ttl. */
function giveBack(keepers: Keepers, spec: AcquireSpec, grantId: string): void {
  const until = spec.giveBack === undefined ? keepers.clock.now() + spec.ttlMs : Infinity;
  keepers.background.run((signal) =>
    untilKnown(keepers, { until, signal, keepAlive: false }, () =>
      spec.giveBack === undefined ? sendRelease(keepers, spec, grantId, null) : spec.giveBack(grantId),
    ),
  );
}
