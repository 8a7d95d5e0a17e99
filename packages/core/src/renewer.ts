import type { RenewOutcome, RenewRequest } from "./backend.ts";
import { call, callLimitMs } from "./call.ts";
import type { Runtime } from "./call.ts";
import { isCoordError } from "./errors.ts";
import { renewChannel, traced } from "./events.ts";
import type { RenewEvent } from "./events.ts";

/** Something that is renewed until it is deleted from the renewer. */
export interface Renewable {
  readonly request: RenewRequest;
  /** When the next renewal is due, on the coordinator's clock. */
  dueAt: number;
  /** Renewed in a call of its own, as the store could not answer for it in a batch. */
  alone: boolean;
  answered(outcome: RenewOutcome, sentAt: number): void;
}

export interface Renewer {
  add(renewable: Renewable): void;
  delete(renewable: Renewable): void;
}

/** Renewals go out at a third of the ttl. */
export const renewEveryMs = (ttlMs: number): number => ttlMs / 3;

/** What is due within this part of its ttl is taken along, so that leases gather in common batches. */
const gatheredPart = 1 / 12;
const defaultBatch = 1000;
const shortestPauseMs = 50;
const longestPauseMs = 1000;

/**
 * One batched renewal per tick for all that is held. A tick never waits for another, a failed renewal never
 * ends the loop, and an unknown one is tried again soon and extends nothing.
 */
export function createRenewer(runtime: Runtime): Renewer {
  const { host, clock, backend } = runtime;
  const batchSize = backend.info.maxRenewBatch ?? defaultBatch;
  const held = new Set<Renewable>();
  let cancel: (() => void) | undefined;
  let wakesAt = Infinity;

  function arm(at: number): void {
    if (at >= wakesAt) return;
    cancel?.();
    wakesAt = at;
    cancel = host.setTimer(tick, Math.max(0, Math.ceil(at - clock.now())), false);
  }

  function disarm(): void {
    cancel?.();
    cancel = undefined;
    wakesAt = Infinity;
  }

  function tick(): void {
    disarm();
    const now = clock.now();
    const due: Renewable[] = [];
    let lagMs = 0;
    for (const renewable of held) {
      const { ttlMs } = renewable.request;
      if (renewable.dueAt - ttlMs * gatheredPart > now) continue;
      lagMs = Math.max(lagMs, now - renewable.dueAt);
      renewable.dueAt = now + renewEveryMs(ttlMs);
      due.push(renewable);
    }
    for (const batch of batches(due)) void send(batch, lagMs);
    let next = Infinity;
    for (const renewable of held) next = Math.min(next, renewable.dueAt);
    if (next < Infinity) arm(next);
  }

  function batches(due: readonly Renewable[]): Renewable[][] {
    const together = due.filter((renewable) => !renewable.alone);
    const result = due.filter((renewable) => renewable.alone).map((renewable) => [renewable]);
    for (let i = 0; i < together.length; i += batchSize) result.push(together.slice(i, i + batchSize));
    return result;
  }

  async function send(batch: readonly Renewable[], lagMs: number): Promise<void> {
    const sentAt = clock.now();
    const limitMs = Math.min(...batch.map(({ request }) => callLimitMs(request.ttlMs)));
    const event: RenewEvent = {
      backend: backend.info.name,
      namespace: runtime.namespace,
      leases: batch.length,
      lagMs,
    };
    const outcomes = await traced(renewChannel, event, async (context) => {
      const answers = await call(host, { what: "renew", limitMs }, (options) =>
        backend.renew(
          batch.map(({ request }) => request),
          options,
        ),
      );
      for (const outcome of answers) context[outcome] = (context[outcome] ?? 0) + 1;
      return answers;
    }).catch((error: unknown) => {
      // Refused as a whole (a missing right, say): the leases end at their deadlines unless it is mended.
      if (!isCoordError(error)) throw error;
      return undefined;
    });
    for (const [i, renewable] of batch.entries()) {
      if (!held.has(renewable)) continue;
      const outcome = outcomes?.[i] ?? "unknown";
      renewable.alone = outcome === "unknown" && outcomes !== undefined;
      if (outcome === "unknown") soon(renewable);
      renewable.answered(outcome, sentAt);
    }
  }

  function soon(renewable: Renewable): void {
    const pauseMs = Math.min(longestPauseMs, Math.max(shortestPauseMs, renewable.request.ttlMs / 20));
    renewable.dueAt = Math.min(renewable.dueAt, clock.now() + pauseMs * (0.75 + host.random() / 2));
    arm(renewable.dueAt);
  }

  return {
    add(renewable) {
      held.add(renewable);
      arm(renewable.dueAt);
    },
    delete(renewable) {
      held.delete(renewable);
      if (held.size === 0) disarm();
    },
  };
}
