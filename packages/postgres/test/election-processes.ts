/** Candidates in processes of their own, what is done to them and their store, and what must hold of what they wrote. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type { Faults } from "@coord/test-fixtures";
import type pg from "pg";
import { until } from "./harness.ts";

/** `hold`: wait for `go` before the next write. */
export type ToCandidate = "resign" | "stop" | "hold" | "go";
export type FromCandidate =
  | { readonly told: "ready"; readonly id: string }
  | {
      readonly told: "elected" | "ended" | "refused" | "settled" | "poised";
      readonly fence: string;
      /** By the wall clock, which all processes of this machine share. */
      readonly at: number;
      /** How long the process did not get to run at the most in that term. */
      readonly lagMs?: number;
    };

export const tables = `
  CREATE TABLE led (id int PRIMARY KEY, fence bigint NOT NULL DEFAULT 0, writes bigint NOT NULL DEFAULT 0);
  CREATE TABLE led_log (
    n bigint PRIMARY KEY, fence bigint NOT NULL, writer text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp()
  );
  INSERT INTO led (id) VALUES (1)`;

export interface TermSeen {
  readonly fence: bigint;
  readonly candidate: Candidate;
  readonly electedAt: number;
  endedAt?: number;
  settledAt?: number;
  lagMs?: number;
  refused: number;
  /** Its leader is about to write. */
  poised: boolean;
}

export interface Candidate {
  readonly process: ChildProcess;
  ready: boolean;
  alive: boolean;
  /** When it was sent a signal, by the wall clock. */
  readonly struckAt: number[];
}

export interface Setting {
  readonly storeUrl: string;
  readonly faults: Faults;
  readonly tableUrl: string;
  /** The database written to. */
  readonly table: pg.Pool;
  readonly namespace: string;
  readonly ttlMs: number;
  readonly size: number;
  readonly mutant?: string;
}

export interface Stage extends Setting {
  candidates: Candidate[];
  /** In the order of their elections. */
  readonly terms: TermSeen[];
}

export function enter(stage: Stage): Candidate {
  const { storeUrl, tableUrl, namespace, ttlMs, mutant = "" } = stage;
  const child = fork(
    join(import.meta.dirname, "election-candidate-child.ts"),
    [storeUrl, tableUrl, namespace, String(ttlMs), mutant],
    { execArgv: ["--conditions=source", "--import", "tsx"] },
  );
  const candidate: Candidate = { process: child, ready: false, alive: true, struckAt: [] };
  child.once("exit", () => void (candidate.alive = false));
  child.on("error", () => {});
  child.on("message", (message: FromCandidate) => {
    if (message.told === "ready") candidate.ready = true;
    else note(stage, candidate, message);
  });
  stage.candidates.push(candidate);
  return candidate;
}

function note(
  { terms }: Stage,
  candidate: Candidate,
  message: Exclude<FromCandidate, { told: "ready" }>,
): void {
  const { told, at, lagMs } = message;
  const fence = BigInt(message.fence);
  const term = terms.find((each) => each.fence === fence);
  if (told === "elected") terms.push({ fence, candidate, electedAt: at, refused: 0, poised: false });
  if (term === undefined) return;
  if (told === "refused") term.refused += 1;
  if (told === "poised") term.poised = true;
  if (told === "settled") term.settledAt = at;
  if (told === "ended") {
    term.endedAt = at;
    if (lagMs !== undefined) term.lagMs = lagMs;
  }
}

export function strike(candidate: Candidate | undefined, signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
  candidate?.struckAt.push(Date.now());
  candidate?.process.kill(signal);
}

export function tell({ process: child }: Candidate, what: ToCandidate): void {
  if (child.connected) child.send(what);
}

export async function startStage(setting: Setting): Promise<Stage> {
  const stage: Stage = { ...setting, candidates: [], terms: [] };
  for (let i = 0; i < setting.size; i += 1) enter(stage);
  await complete(stage);
  return stage;
}

/** All candidates stand, and somebody writes. */
export async function complete(stage: Stage): Promise<void> {
  stage.candidates = stage.candidates.filter(({ alive }) => alive);
  while (stage.candidates.length < stage.size) enter(stage);
  await until("all candidates stand", () => stage.candidates.every(({ ready }) => ready), 60_000);
  const from = await written(stage);
  await until("a leader writes", async () => (await written(stage)).writes >= from.writes + 2n, 60_000);
}

export async function written({ table }: Setting): Promise<{ fence: bigint; writes: bigint }> {
  const { rows } = await table.query<{ fence: string; writes: string }>("SELECT fence, writes FROM led");
  const [row] = rows;
  assert.ok(row !== undefined);
  return { fence: BigInt(row.fence), writes: BigInt(row.writes) };
}

/** The term under which was written last, once its leader has been heard of. */
export async function leading(stage: Stage): Promise<TermSeen> {
  let found: TermSeen | undefined;
  await until("the leader is known", async () => {
    const { fence } = await written(stage);
    found = stage.terms.find((term) => term.fence === fence && term.candidate.alive);
    return found !== undefined;
  });
  assert.ok(found !== undefined);
  return found;
}

/** Somebody writes under a higher fence. */
export async function succeeded(stage: Stage, fence: bigint): Promise<void> {
  await until("a new leader writes", async () => (await written(stage)).fence > fence, 60_000);
}

export async function leave(stage: Stage): Promise<void> {
  const alive = stage.candidates.filter(({ alive: is }) => is);
  for (const candidate of alive) {
    candidate.process.kill("SIGCONT");
    tell(candidate, "stop");
  }
  const gone = (): boolean => alive.every((candidate) => !candidate.alive);
  await until("all candidates have stopped", gone, 20_000).catch(() => {
    for (const { process: child } of alive) child.kill("SIGKILL");
  });
}

export interface Write {
  readonly fence: bigint;
  readonly writer: string;
  readonly at: number;
}

/** What was written, in the order of the writes. */
export async function logOf({ table }: Setting): Promise<Write[]> {
  const { rows } = await table.query<{ fence: string; writer: string; at: Date }>(
    "SELECT fence, writer, at FROM led_log ORDER BY n",
  );
  return rows.map(({ fence, writer, at }) => ({ fence: BigInt(fence), writer, at: at.getTime() }));
}

/** No two leaders wrote under the same fence, and none under a lower one than the writer before it. */
export function checkWrites(log: readonly Write[]): void {
  const writers = new Map<bigint, string>();
  let highest = 0n;
  for (const { fence, writer } of log) {
    assert.ok(fence >= highest, `a write under ${fence} came after one under ${highest}`);
    highest = fence;
    const first = writers.get(fence) ?? writer;
    assert.equal(writer, first, `two leaders wrote under ${fence}`);
    writers.set(fence, first);
  }
}

/** No leader whose process ran all the time thought that it led when the next one was elected. How many were looked at. */
export function checkTerms(terms: readonly TermSeen[], marginMs: number): number {
  const ordered = terms.toSorted((a, b) => (a.fence < b.fence ? -1 : 1));
  let checked = 0;
  for (const [i, { fence, candidate, electedAt, endedAt = Infinity, lagMs = 0 }] of ordered.entries()) {
    const next = ordered[i + 1];
    const struck = candidate.struckAt.some((at) => at >= electedAt && at <= endedAt);
    // A process that this machine did not let run stood still, as one that was stopped.
    if (next === undefined || struck || lagMs > marginMs / 2) continue;
    const lateMs = endedAt - next.electedAt;
    assert.ok(lateMs <= 0, `the term ${fence} ended ${lateMs} ms after ${next.fence} had begun`);
    checked += 1;
  }
  return checked;
}
