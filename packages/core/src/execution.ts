import type { Grant, Within } from "./backend.ts";
import { InvalidArgumentError, LeaseLostError, OutcomeError } from "./errors.ts";
import type { Holding } from "./holding.ts";
import { encodeJson, fingerprint, show } from "./json.ts";
import type { Jsonable } from "./json.ts";
import type { Execution, Storable } from "./once-api.ts";
import { complete, encode } from "./once-record.ts";
import type { ExecutionPayload, Writer } from "./once-record.ts";
import { userPayloadBytes } from "./validate.ts";

/** The same for every attempt of a key, and for no other key. */
export const idempotencyKeyOf = (namespace: string, key: string): string =>
  fingerprint(`${namespace}\u0000${key}`);

/** A copy as everybody will get it, or an error that names the place which JSON would not keep. */
export function storable(response: unknown, maxBytes: number): unknown {
  return response === undefined ? undefined : JSON.parse(encodeJson(response, "response", maxBytes));
}

export interface ExecutionSpec {
  readonly namespace: string;
  readonly retainMs: number | null;
  readonly maxResponseBytes: number;
  readonly writer: () => Writer;
}

/** The handle of one run, and what was stored of it so far. */
export class RunningExecution implements Execution {
  readonly idempotencyKey: string;
  /** Settles when no save is under way. */
  saving: Promise<unknown> = Promise.resolve();
  /** Whether an outcome was sent in a transaction of the caller, who alone knows whether it commits. */
  completing = false;
  readonly #holding: Holding;
  readonly #spec: ExecutionSpec;
  #payload: ExecutionPayload;
  #saves = 0;

  constructor(holding: Holding, payload: ExecutionPayload, spec: ExecutionSpec) {
    this.#holding = holding;
    this.#payload = payload;
    this.#spec = spec;
    this.idempotencyKey = idempotencyKeyOf(spec.namespace, holding.granted.key);
  }

  get key(): string {
    return this.#holding.granted.key;
  }

  get fence(): bigint {
    return this.grant.fence;
  }

  get grant(): Grant {
    return this.#holding.granted.grant;
  }

  get attempt(): number {
    return this.#payload.attempt;
  }

  get progress(): unknown {
    return this.#payload.progress;
  }

  get signal(): AbortSignal {
    return this.#holding.signal;
  }

  get remainingMs(): number {
    return this.#holding.remainingMs;
  }

  /** What the record holds of this run, as far as its saves were confirmed. */
  get payload(): ExecutionPayload {
    return this.#payload;
  }

  assertHeld(): void {
    this.#holding.assertHeld();
  }

  async save<T>(progress: T & Jsonable<T>): Promise<void> {
    const copy: unknown = JSON.parse(encodeJson(progress, "progress", userPayloadBytes));
    const save = async (): Promise<void> => {
      this.#saves += 1;
      const payload = { ...this.#payload, progress: copy };
      await this.#holding.renewNow(this.#holding.granted.ttlMs, { text: encode(payload), seq: this.#saves });
      this.#payload = payload;
    };
    const saved = this.saving.then(save);
    this.saving = saved.catch(() => undefined);
    await saved;
  }

  async complete<T>(
    response: Storable<T>,
    options: { readonly within: Pick<Within, "release"> },
  ): Promise<void> {
    // Callers without types may leave either out.
    const within = options?.within;
    if (typeof within?.release !== "function") {
      throw new InvalidArgumentError(
        `within must be what backend.within(transaction) returned, got ${show(within)}.`,
      );
    }
    const value = storable(response, this.#spec.maxResponseBytes);
    // From here on the commit may happen, whatever becomes of the answers.
    this.completing = true;
    await this.saving;
    const { name, grantId, fence } = this.grant;
    const payload = encode(complete(this.#payload, fence, { value }, this.#spec.writer()));
    const { retainMs } = this.#spec;
    const result = await within.release({ name, grantId, fence, sealed: true, payload, retainMs });
    if (result.outcome === "lost") {
      throw new LeaseLostError(
        this,
        "refused",
        `The execution "${this.key}" (fence ${fence}) is not this process's any more: somebody resolved it. Roll the transaction back.`,
      );
    }
    if (result.record === undefined) return;
    throw new OutcomeError(
      "COORD_OUTCOME_SUPERSEDED",
      this,
      `The execution "${this.key}" (fence ${fence}) has ended already: an earlier transaction completed it. Roll this one back.`,
      { response: value },
    );
  }
}
