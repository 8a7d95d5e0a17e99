/**
 * The waiters' side, for one name: a connection queues for the turnstile, in the server's order. Whoever has
 * it alone watches the gate, so that one release wakes one process. Any answer, none and an error are hints.
 */
import type { Name } from "@coord/core";
import { integer } from "./driver.ts";
import type { Row } from "./driver.ts";
import { nameValues } from "./record.ts";
import { lockNames } from "./wake-link.ts";
import type { Link, LockNames } from "./wake-link.ts";

export interface TurnstileOptions {
  readonly name: Name;
  readonly isFreeSql: string;
  readonly watchGateSql: string;
  readonly open: () => Promise<Link>;
  /** Takes back a link that holds no lock, for the next name. */
  readonly giveBack: (link: Link) => void;
  /** Resolves when this process has shut the gate, should it have got the lease. */
  readonly gateSettled: () => Promise<void>;
  /** Called when a waiter is woken: it will try. */
  readonly onTurn: () => void;
  /** Called when the last waiter has left. */
  readonly onEmpty: () => void;
}

interface Waiter {
  readonly onWake: () => void;
  woken: boolean;
}

const TURN_SECONDS = 30;
/** How long one look at a shut gate takes; what `watchGateSql` is made with. */
export const LOOK_SECONDS = 5;
const ANSWER_MS = 5000;
/** After a wake-up the gate is left alone for so long: whoever was woken tries, and leaves. */
const TRY_MS = 30;
const SHORTEST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 1000;
const LONGEST_RECONNECT_MS = 5000;

const says = (row: Row, answer: bigint): boolean =>
  row["answer"] !== null && integer(row, "answer") === answer;
const isFree = (row: Row): boolean => integer(row, "free") !== 0n;

export class Turnstile {
  /** Resolves when the first connection stands in the queue; rejects if none can be had. */
  readonly ready: Promise<void>;
  readonly #options: TurnstileOptions;
  readonly #waiters = new Set<Waiter>();
  #link: Link | undefined;
  #hasTurn = false;
  /** Whether the link waits for a named lock. */
  #isAsking = false;
  #closed = false;
  /** Done when a turn that was passed on is the next one's. */
  #passing: Promise<void> = Promise.resolve();
  /** Takes back that a link's end is told to us. */
  #forget: (() => void) | undefined;
  #endPause: (() => void) | undefined;

  constructor(options: TurnstileOptions) {
    this.#options = options;
    this.ready = new Promise((resolve, reject) => void this.#run(resolve, reject));
    this.ready.catch(() => {});
  }

  get live(): boolean {
    return this.#link !== undefined;
  }

  /** Adds a waiter; the first of them is woken. Returns what takes it away again. */
  add(onWake: () => void): () => Promise<void> {
    const waiter: Waiter = { onWake, woken: false };
    this.#waiters.add(waiter);
    let gone: Promise<void> | undefined;
    return () => {
      gone ??= this.#leave(waiter);
      return gone;
    };
  }

  close(): void {
    const link = this.#link;
    this.#end();
    this.#waiters.clear();
    link?.hangUp();
  }

  #end(): void {
    this.#closed = true;
    this.#hasTurn = false;
    this.#forget?.();
    this.#link = undefined;
    this.#endPause?.();
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #wakeFirst(): void {
    for (const waiter of this.#waiters) {
      waiter.woken = true;
      this.#options.onTurn();
      waiter.onWake();
      return;
    }
  }

  #wakeAll(): void {
    for (const { onWake } of this.#waiters) onWake();
  }

  async #run(markReady: () => void, markFailed: (error: unknown) => void): Promise<void> {
    let failures = 0;
    for (let isBack = false; !this.#closed; isBack = true) {
      const startedMs = performance.now();
      try {
        await this.#stand(isBack, markReady);
      } catch (error) {
        markFailed(error);
        this.#link?.hangUp();
        if (this.#closed) return;
        if (performance.now() - startedMs > LONGEST_RECONNECT_MS) failures = 0;
        await this.#pause(Math.min(50 * 2 ** failures++, LONGEST_RECONNECT_MS));
      }
    }
  }

  /** Waits and looks on one connection, until it breaks or nobody waits. */
  async #stand(isBack: boolean, markReady: () => void): Promise<void> {
    const link = await this.#options.open();
    if (this.#closed) return this.#options.giveBack(link);
    if (link.isDown()) throw new Error("The connection for named locks went down.");
    this.#link = link;
    this.#forget = link.onDown(() => {
      this.#link = undefined;
      this.#hasTurn = false;
      this.#endPause?.();
      this.#wakeAll();
    });
    const names = lockNames(link.scope, this.#options.name);
    markReady();
    // What happened meanwhile was heard by nobody.
    if (isBack) this.#wakeAll();
    while (!this.#closed) {
      await this.#passing;
      const isShut = await this.#queue(link, names);
      await this.#look(link, names, isShut);
    }
  }

  /** A statement that waits for a named lock: while it does, the turn can't be passed on. */
  async #lockRow(link: Link, sql: string, values: readonly Buffer[], seconds: number): Promise<Row> {
    this.#isAsking = true;
    try {
      const [row = {}] = await link.ask(sql, values, seconds * 1000 + ANSWER_MS);
      return row;
    } finally {
      this.#isAsking = false;
    }
  }

  /** Waits for the turn. True if the gate was shut when it came. */
  async #queue(link: Link, { turnstile, gate }: LockNames): Promise<boolean> {
    const sql = `SELECT IF(GET_LOCK(?,${TURN_SECONDS}),IF(GET_LOCK(?,0),RELEASE_LOCK(?),0),NULL) AS answer`;
    for (;;) {
      const row = await this.#lockRow(link, sql, [turnstile, gate, gate], TURN_SECONDS);
      if (row["answer"] === null) continue;
      this.#hasTurn = !this.#closed;
      return says(row, 0n);
    }
  }

  /** Watches the gate while the turn is ours. */
  async #look(link: Link, { gate }: LockNames, shutAtFirst: boolean): Promise<void> {
    let isShut = shutAtFirst;
    let pauseMs = SHORTEST_PAUSE_MS;
    while (this.#hasTurn) {
      if (isShut) {
        const values = [...nameValues(this.#options.name), gate, gate];
        const row = await this.#lockRow(link, this.#options.watchGateSql, values, LOOK_SECONDS);
        isShut = !says(row, 1n);
        if (isShut) {
          // By one who has been overruled: the record knows.
          if (this.#hasTurn && isFree(row)) this.#wakeFirst();
          continue;
        }
        // Released, or the holder's process is gone: whoever is woken sees which.
        this.#wakeFirst();
        pauseMs = TRY_MS;
        await this.#pause(pauseMs);
      }
      // Still open, perhaps as the lease is too young or its holder dead.
      if (this.#hasTurn && (await this.#isFree(link))) this.#wakeFirst();
      if (!this.#hasTurn) return;
      await this.#pause(pauseMs);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
      if (!this.#hasTurn) return;
      const sql = "SELECT IF(GET_LOCK(?,0),RELEASE_LOCK(?),0) AS answer";
      isShut = says(await this.#lockRow(link, sql, [gate, gate], 0), 0n);
    }
  }

  async #isFree(link: Link): Promise<boolean> {
    const [row = {}] = await link.ask(this.#options.isFreeSql, nameValues(this.#options.name), ANSWER_MS);
    return isFree(row);
  }

  /** Lets the next process have its turn, once our own gate is shut if the lease is ours now. */
  async #passOn(link: Link): Promise<void> {
    this.#hasTurn = false;
    await this.#options.gateSettled();
    const { turnstile } = lockNames(link.scope, this.#options.name);
    await link.ask("SELECT RELEASE_LOCK(?)", [turnstile], ANSWER_MS).catch(() => link.hangUp());
  }

  async #leave(waiter: Waiter): Promise<void> {
    const link = this.#link;
    if (!this.#waiters.delete(waiter)) return;
    if (this.#waiters.size > 0) {
      // Who was woken has had the turn; who was not leaves it to the others of this process.
      if (!waiter.woken || !this.#hasTurn || this.#isAsking || link === undefined) return;
      this.#passing = this.#passOn(link).finally(() => this.#endPause?.());
      return this.#passing;
    }
    const hadTurn = this.#hasTurn;
    this.#end();
    this.#options.onEmpty();
    if (link === undefined) return;
    // The server ends what a connection waits for together with the connection.
    if (this.#isAsking) return link.hangUp();
    if (hadTurn) await this.#passOn(link);
    this.#options.giveBack(link);
  }
}
