/**
 * The holder's side: one connection holds the gates of all leases of this process that are older than a
 * moment, so short leases cost nothing. A gate is a hint for waiters: whatever goes wrong with it, the record
 * decides, and no step waits for it.
 */
import type { Name } from "@coord/core";
import { IDLE_LIMIT_MS, lockNames } from "./wake-link.ts";
import type { Link } from "./wake-link.ts";

export interface Gate {
  /** A grant was given or extended; with `atOnce` its gate is closed now, as somebody of ours waits for it. */
  held(name: Name, grantId: string, ttlMs: number, atOnce: boolean): void;
  renewed(name: Name, grantId: string, ttlMs: number): void;
  /** The grant is over, and the record says so already; `undefined` = whichever it was. */
  over(name: Name, grantId: string | undefined): void;
  /** What a record that was read says: `undefined` = nobody holds the name. */
  stillHeldBy(name: Name, grantId: string | undefined): void;
  /** Resolves when no gate is on its way, or after a second. */
  settled(): Promise<void>;
  close(): void;
}

interface Entry {
  readonly name: Name;
  grantId: string;
  untilMs: number;
  dueMs: number;
  tries: number;
  over: boolean;
  /** The link that holds the lock. */
  lockedBy: Link | undefined;
}

const YOUNG_MS = 10;
const BATCH = 100;
const LIMIT_MS = 5000;
const PING_MS = IDLE_LIMIT_MS / 3;

const later = (tries: number): number => Math.min(20 * 2 ** tries, 1000);
const now = (): number => performance.now();
const idOf = ({ namespace, key }: Name): string => `${namespace}\0${key}`;

export function createGate(open: () => Promise<Link>): Gate {
  const entries = new Map<string, Entry>();
  let link: Link | undefined;
  let working: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let timerMs = Infinity;
  let failures = 0;
  let lastUseMs = 0;
  let closed = false;

  function wakeAt(atMs: number): void {
    if (closed || atMs >= timerMs) return;
    clearTimeout(timer);
    timerMs = atMs;
    timer = setTimeout(tick, Math.max(0, atMs - now())).unref();
  }

  function tick(): void {
    clearTimeout(timer);
    timerMs = Infinity;
    if (working !== undefined || closed) return;
    working = work()
      .catch(() => {
        failures += 1;
      })
      .finally(() => {
        working = undefined;
        plan();
      });
  }

  /** Arms the timer for what is due next. */
  function plan(): void {
    const pauseMs = failures === 0 ? 0 : Math.min(100 * 2 ** failures, 5000);
    let nextMs = Infinity;
    for (const entry of entries.values()) {
      const dueMs = entry.over ? 0 : entry.lockedBy === undefined ? entry.dueMs : entry.untilMs;
      nextMs = Math.min(nextMs, dueMs);
    }
    if (link !== undefined && entries.size > 0) nextMs = Math.min(nextMs, lastUseMs + PING_MS);
    if (nextMs < Infinity) wakeAt(Math.max(nextMs, now() + pauseMs));
  }

  async function connected(): Promise<Link> {
    if (link === undefined || link.isDown()) {
      const opened = await open();
      link = opened;
      opened.onDown(() => {
        if (link === opened) link = undefined;
        for (const entry of entries.values()) if (entry.lockedBy === opened) entry.lockedBy = undefined;
        if (!closed) plan();
      });
      if (closed) opened.hangUp();
    }
    return link ?? Promise.reject(new Error("The gate's connection went down."));
  }

  /** The lock function on each, in batches; the answers in their order. */
  async function lock(on: Link, call: (mark: string) => string, some: readonly Entry[]): Promise<boolean[]> {
    const answers: boolean[] = [];
    for (let from = 0; from < some.length; from += BATCH) {
      const batch = some.slice(from, from + BATCH);
      const sql = `SELECT ${batch.map((_, index) => `${call("?")} AS a${index}`).join(",")}`;
      const [row = {}] = await on.ask(
        sql,
        batch.map((entry) => lockNames(on.scope, entry.name).gate),
        LIMIT_MS,
      );
      lastUseMs = now();
      answers.push(...batch.map((_, index) => String(row[`a${index}`]) === "1"));
    }
    return answers;
  }

  async function work(): Promise<void> {
    for (;;) {
      const atMs = now();
      for (const [id, entry] of entries) {
        if (entry.untilMs <= atMs) entry.over = true;
        if (entry.over && entry.lockedBy === undefined) entries.delete(id);
      }
      const ending = [...entries.values()].filter((entry) => entry.over);
      const due = [...entries.values()].filter(
        (entry) => !entry.over && entry.lockedBy === undefined && entry.dueMs <= atMs,
      );
      const idle = ending.length === 0 && due.length === 0;
      const ping = idle && entries.size > 0 && link !== undefined && lastUseMs + PING_MS <= atMs;
      if (idle && !ping) break;
      const on = await connected();
      if (ping) {
        await on.ask("SELECT 1", [], LIMIT_MS);
        lastUseMs = now();
      }
      await lock(on, (mark) => `RELEASE_LOCK(${mark})`, ending);
      for (const entry of ending) entry.lockedBy = undefined;
      const got = await lock(on, (mark) => `GET_LOCK(${mark},0)`, due);
      for (const [index, entry] of due.entries()) {
        // Not got: a waiter has it for a moment, or the last holder's process has not let go of it yet.
        if (got[index] && !on.isDown()) entry.lockedBy = on;
        else entry.dueMs = now() + later(entry.tries++);
      }
      failures = 0;
    }
  }

  function end(name: Name, entry: Entry): void {
    entry.over = true;
    // A gate that was never asked for is forgotten here and costs nothing.
    if (entry.lockedBy === undefined && working === undefined) entries.delete(idOf(name));
    else tick();
  }

  return {
    held: (name, grantId, ttlMs, atOnce) => {
      if (closed) return;
      const entry = entries.get(idOf(name));
      const fresh = { grantId, untilMs: now() + ttlMs, over: false };
      const dueMs = atOnce ? 0 : now() + YOUNG_MS;
      if (entry === undefined) {
        entries.set(idOf(name), { name, ...fresh, dueMs, tries: 0, lockedBy: undefined });
      } else Object.assign(entry, fresh, { dueMs });
      if (atOnce) tick();
      else wakeAt(dueMs);
    },
    renewed: (name, grantId, ttlMs) => {
      const entry = entries.get(idOf(name));
      if (entry?.grantId === grantId) entry.untilMs = Math.max(entry.untilMs, now() + ttlMs);
    },
    over: (name, grantId) => {
      const entry = entries.get(idOf(name));
      if (entry !== undefined && (grantId ?? entry.grantId) === entry.grantId) end(name, entry);
    },
    stillHeldBy: (name, grantId) => {
      const entry = entries.get(idOf(name));
      if (entry !== undefined && entry.grantId !== grantId) end(name, entry);
    },
    settled: () => Promise.race([working, new Promise<void>((resolve) => setTimeout(resolve, 1000).unref())]),
    close: () => {
      closed = true;
      clearTimeout(timer);
      entries.clear();
      link?.hangUp();
    },
  };
}
