import type { Grant } from "./backend.ts";
import { InvalidArgumentError, LeaseLostError, UnavailableError } from "./errors.ts";
import type { EventBase, LeaseEvent } from "./events.ts";
import { saveChannel, traced } from "./events.ts";
import type { Holding } from "./holding.ts";
import { encodeJson, show } from "./json.ts";
import type { Jsonable } from "./json.ts";
import { userKey, userPayloadBytes } from "./validate.ts";

/** A lease that this process holds, until its `signal` aborts. */
export interface Lease {
  readonly key: string;
  /** The fencing token: write it with everything the lease protects, and refuse older ones there. */
  readonly fence: bigint;
  readonly holder: string;
  /** What a backend recognises the grant by, for `backend.within(tx).verify(lease)`. */
  readonly grant: Grant;
  /** Aborts with the `LeaseLostError` before anybody else can hold the lease, and when it is released. */
  readonly signal: AbortSignal;
  readonly state: "held" | "lost" | "ended";
  /** Milliseconds until the holder must stop unless it is renewed; 0 when it is not held. */
  readonly remainingMs: number;
  /** What was saved last, by this holder or one before; `undefined` if nothing ever was. */
  readonly checkpoint: unknown;
  /** Throws `LeaseLostError` if the lease is not held any more, by the clock. No I/O. */
  assertHeld(): void;
  /** Renews now, besides the renewals in the background. Throws `LeaseLostError`, `UnavailableError`. */
  renew(): Promise<void>;
  /**
   * Stores a checkpoint of at most 256 KiB of JSON, which the next holder finds. Saves go one at a time, in
   * order. Throws `InvalidArgumentError` for what JSON does not keep, `LeaseLostError`, `UnavailableError`.
   */
  save<T>(checkpoint: T & Jsonable<T>): Promise<void>;
  /**
   * Ends this handle and leaves the lease to whoever calls `adopt` with the text, within the ttl that is
   * left. The text is a secret: who has it can take the lease.
   */
  detach(): string;
  /**
   * Ends the lease. Idempotent, and it works when signals are aborted. Throws `LeaseLostError` if it was lost
   * before, `UnavailableError` if the store did not confirm (it is repeated in the background, and lapses by
   * itself at the latest).
   */
  release(): Promise<void>;
  /** As `release`, but a loss that was thrown before is not thrown again. */
  [Symbol.asyncDispose](): Promise<void>;
}

export function encodeCheckpoint(checkpoint: unknown): string {
  return `{"checkpoint":${encodeJson(checkpoint, "checkpoint", userPayloadBytes)}}`;
}

export function decodeCheckpoint(payload: string | undefined): unknown {
  if (payload === undefined) return undefined;
  try {
    const envelope: unknown = JSON.parse(payload);
    return typeof envelope === "object" && envelope !== null && "checkpoint" in envelope
      ? envelope.checkpoint
      : undefined;
  } catch {
    return undefined; // Not written by this library: nothing that a caller could use.
  }
}

export interface HandOver {
  readonly namespace: string;
  readonly key: string;
  readonly grantId: string;
  readonly fence: bigint;
  readonly ttlMs: number;
}

const handOverPrefix = "coord1.";

export function encodeHandOver({ namespace, key, grantId, fence, ttlMs }: HandOver): string {
  const text = JSON.stringify([namespace, key, grantId, String(fence), ttlMs]);
  return handOverPrefix + Buffer.from(text).toString("base64url");
}

export function decodeHandOver(text: unknown): HandOver {
  const remedy = "Pass the text that lease.detach() gave, unchanged.";
  if (typeof text !== "string" || !text.startsWith(handOverPrefix)) {
    const shown = typeof text === "string" ? "another text" : show(text);
    throw new InvalidArgumentError(`adopt() takes the text of a detached lease, got ${shown}. ${remedy}`);
  }
  try {
    const parts: unknown = JSON.parse(Buffer.from(text.slice(handOverPrefix.length), "base64url").toString());
    if (!Array.isArray(parts) || parts.length !== 5) throw new TypeError("not five parts");
    const [namespace, key, grantId, fence, ttlMs]: unknown[] = parts;
    if (typeof namespace !== "string" || typeof key !== "string" || typeof grantId !== "string")
      throw new TypeError("not text");
    if (typeof fence !== "string" || typeof ttlMs !== "number") throw new TypeError("not numbers");
    return { namespace, key, grantId, fence: BigInt(fence), ttlMs };
  } catch (cause) {
    throw new InvalidArgumentError(`adopt() got a text that was cut or changed. ${remedy}`, { cause });
  }
}

export class LeaseHandle implements Lease {
  readonly holder: string;
  readonly #holding: Holding;
  readonly #event: EventBase;
  #checkpoint: { text: string | undefined };
  #saves = 0;
  #saving: Promise<unknown> = Promise.resolve();
  #released: Promise<void> | undefined;
  /** Whether the caller was told of the loss by an exception. */
  #told = false;

  constructor(holding: Holding, holder: string, payload: string | undefined, event: EventBase) {
    this.#holding = holding;
    this.holder = holder;
    this.#checkpoint = { text: payload };
    this.#event = event;
  }

  get key(): string {
    return userKey(this.grant.name.key);
  }

  get fence(): bigint {
    return this.grant.fence;
  }

  get grant(): Grant {
    return this.#holding.granted.grant;
  }

  get signal(): AbortSignal {
    return this.#holding.signal;
  }

  get state(): "held" | "lost" | "ended" {
    return this.#holding.state;
  }

  get remainingMs(): number {
    return this.#holding.remainingMs;
  }

  get checkpoint(): unknown {
    return decodeCheckpoint(this.#checkpoint.text);
  }

  assertHeld(): void {
    this.#telling(() => this.#holding.assertHeld());
  }

  async renew(): Promise<void> {
    await this.#tellingAsync(() => this.#holding.renewNow(this.#holding.granted.ttlMs));
  }

  async save<T>(checkpoint: T & Jsonable<T>): Promise<void> {
    const text = encodeCheckpoint(checkpoint);
    const save = async (): Promise<void> => {
      const event: LeaseEvent = { ...this.#event, fence: this.fence };
      this.#saves += 1;
      const payload = { text, seq: this.#saves };
      await traced(saveChannel, event, () => this.#holding.renewNow(this.#holding.granted.ttlMs, payload));
      this.#checkpoint = { text };
    };
    const saved = this.#saving.then(() => this.#tellingAsync(save));
    this.#saving = saved.catch(() => undefined);
    await saved;
  }

  detach(): string {
    this.assertHeld();
    const { ttlMs } = this.#holding.granted;
    this.#holding.leave("detached");
    this.#released = Promise.resolve();
    const { name, grantId, fence } = this.grant;
    return encodeHandOver({ namespace: name.namespace, key: this.key, grantId, fence, ttlMs });
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  /** Leaves the record to lapse `restMs` from now, and not before. */
  async lapseIn(restMs: number): Promise<void> {
    await this.#tellingAsync(() => this.#holding.renewNow(Math.max(1, Math.ceil(restMs))));
    this.#holding.leave("lapsing");
    this.#released = Promise.resolve();
  }

  get heldMs(): number {
    return this.#holding.heldMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const told = this.#told;
    try {
      await this.release();
    } catch (error) {
      // Not confirmed, but it is repeated in the background and lapses: no reason to fail what was done.
      if (error instanceof UnavailableError || (told && error instanceof LeaseLostError)) return;
      throw error;
    }
  }

  async #release(): Promise<void> {
    // A save that is under way would be lost to the release, or answered "lost" after it.
    await this.#saving;
    const { lost, granted } = this.#holding;
    if (lost === undefined && this.#holding.state !== "held") return;
    const outcome = { sealed: false, retainMs: granted.retainMs };
    if (lost !== undefined) {
      // Late, but if nobody took over, nobody needs to wait for the end of the ttl.
      await this.#holding.release(outcome).catch(() => undefined);
      this.#told = true;
      throw lost;
    }
    await this.#holding.release(outcome);
    this.#telling(() => {
      if (this.#holding.lost !== undefined) throw this.#holding.lost;
    });
  }

  #telling<T>(run: () => T): T {
    try {
      return run();
    } catch (error) {
      this.#told ||= error instanceof LeaseLostError;
      throw error;
    }
  }

  async #tellingAsync(run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (error) {
      this.#told ||= error instanceof LeaseLostError;
      throw error;
    }
  }
}
