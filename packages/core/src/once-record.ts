/**
 * What the record of an execution says, and each transition of it as a pure function. The record's own state
 * (held, sealed) is the store's; this is the payload, and how both are read together.
 */
import type { RecordView } from "./backend.ts";
import type { RecordedFailure } from "./errors.ts";

/**
 * - `running`: somebody holds the claim.
 * - `completed`, `failed`: the recorded answer, which stays.
 * - `uncertain`: it began, and nobody recorded how it ended; never run again by itself.
 * - `not-done`: it did not happen, and may be run.
 */
export type ExecutionStatus = "running" | "completed" | "failed" | "uncertain" | "not-done";

/** One transition, as it stands in the record. */
export interface LogEntry {
  /** Milliseconds since 1970 by the wall clock of whoever wrote it; for people. */
  readonly at: number;
  readonly by: string;
  readonly outcome: "started" | "completed" | "failed" | "uncertain" | "not-done" | "rerun";
  /** The grant that it ended; absent where it began one. */
  readonly fence?: string | undefined;
  /** The name of the error that was thrown. */
  readonly error?: string | undefined;
  readonly note?: string | undefined;
  /** The grant id of an overrule, by which its sender knows it again. */
  readonly id?: string | undefined;
}

/** The payload of an execution's record. */
export interface ExecutionPayload {
  readonly state: "executing" | "completed" | "failed" | "uncertain" | "not-done";
  /** What it is again when this claim is given back before anything ran. */
  readonly before?: "uncertain" | "not-done" | undefined;
  /** Of the input; binds the key to it once a run began. */
  readonly fingerprint: string;
  /** Runs that began, the present one included. */
  readonly attempt: number;
  /** When the first run began, milliseconds since 1970 by its wall clock. */
  readonly startedAt: number;
  /** Milliseconds; of the last claim. */
  readonly ttlMs: number;
  /** How long an answer is kept, as the last claim had it. */
  readonly retainMs?: number | null | undefined;
  readonly log: readonly LogEntry[];
  readonly progress?: unknown;
  /** Of `completed`: wrapped, as a response may be undefined; absent where it could not be stored. */
  readonly response?: { readonly value?: unknown } | undefined;
  /** Why the response could not be stored. */
  readonly notStored?: string | undefined;
  readonly failure?: RecordedFailure | undefined;
}

/** How a record is read. */
export interface Standing {
  readonly status: ExecutionStatus;
  readonly payload: ExecutionPayload;
  readonly fence: bigint;
  readonly sealed: boolean;
  readonly state: RecordView["state"];
  readonly holder: string;
  readonly remainingMs: number;
  /** Milliseconds since 1970 by the store's clock; 0 = released. */
  readonly expiresAt: number;
}

export type Writer = Pick<LogEntry, "at" | "by" | "note" | "id">;

const longestLog = 50;
const maxLogBytes = 32_768;
const longestText = 1000;
const longestName = 100;

const nothing: ExecutionPayload = {
  state: "not-done",
  fingerprint: "",
  attempt: 0,
  startedAt: 0,
  ttlMs: 0,
  log: [],
};

/** The log with one more entry: the last 50, or fewer if they are long. */
function logged(log: readonly LogEntry[], entry: LogEntry): readonly LogEntry[] {
  const kept = [...log, entry].slice(-longestLog);
  while (kept.length > 1 && Buffer.byteLength(JSON.stringify(kept)) > maxLogBytes) kept.shift();
  return kept;
}

const cut = (text: string, length: number): string => text.slice(0, length).toWellFormed();

/** What an error is called, which is all that the log keeps of it. */
export function nameOf(error: unknown): string {
  return cut(error instanceof Error ? error.name : typeof error, longestName);
}

function failureOf(error: unknown): RecordedFailure {
  const name = nameOf(error);
  if (!(error instanceof Error)) return { name, message: cut(String(error), longestText) };
  const code = "code" in error && typeof error.code === "string" ? error.code : undefined;
  const message = cut(error.message, longestText);
  return { name, message, ...(code !== undefined && { code: cut(code, longestName) }) };
}

/** A claim: after `before`, or on a name that nobody has used. */
export function claim(
  before: Standing | undefined,
  spec: Pick<ExecutionPayload, "fingerprint" | "ttlMs" | "retainMs">,
  writer: Writer,
): ExecutionPayload {
  const { payload = nothing } = before ?? {};
  return {
    state: "executing",
    before: before?.status === "uncertain" ? "uncertain" : "not-done",
    ...spec,
    attempt: payload.attempt + 1,
    startedAt: payload.attempt === 0 ? writer.at : payload.startedAt,
    log: logged(payload.log, { ...writer, outcome: "started" }),
    progress: payload.progress,
  };
}

type Ended = Omit<ExecutionPayload, "state" | "log">;

function ended(payload: ExecutionPayload): Ended {
  const { fingerprint, attempt, startedAt, ttlMs, retainMs } = payload;
  return { fingerprint, attempt, startedAt, ttlMs, retainMs };
}

export function complete(
  payload: ExecutionPayload,
  fence: bigint,
  answer: { readonly value: unknown } | { readonly notStored: string },
  writer: Writer,
): ExecutionPayload {
  const stored =
    "value" in answer
      ? { response: answer.value === undefined ? {} : { value: answer.value } }
      : { notStored: cut(answer.notStored, longestText) };
  const entry: LogEntry = { ...writer, fence: String(fence), outcome: "completed" };
  return { ...ended(payload), ...stored, state: "completed", log: logged(payload.log, entry) };
}

/** The function threw `error`, or a person or a probe says that it failed, happened or did not. */
export function settle(
  payload: ExecutionPayload,
  fence: bigint,
  state: "failed" | "uncertain" | "not-done",
  writer: Writer,
  error?: { readonly thrown: unknown },
): ExecutionPayload {
  const entry: LogEntry = {
    ...writer,
    fence: String(fence),
    outcome: state,
    ...(error !== undefined && { error: nameOf(error.thrown) }),
  };
  const log = logged(payload.log, entry);
  if (state !== "failed") return { ...ended(payload), progress: payload.progress, state, log };
  const failure =
    error === undefined
      ? { name: "Failed", message: writer.note ?? `so said by ${writer.by}` }
      : failureOf(error.thrown);
  return { ...ended(payload), failure, state, log };
}

/** Opened for a run of somebody who chose to run uncertain ones again; to everybody else it stays uncertain. */
export function rerun(payload: ExecutionPayload, fence: bigint, writer: Writer): ExecutionPayload {
  const entry: LogEntry = { ...writer, fence: String(fence), outcome: "rerun" };
  const { progress } = payload;
  return { ...ended(payload), progress, state: "uncertain", log: logged(payload.log, entry) };
}

const states = ["executing", "completed", "failed", "uncertain", "not-done"] as const;
const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

function isPayload(value: unknown): value is ExecutionPayload {
  if (!isObject(value) || !("state" in value) || !("log" in value) || !Array.isArray(value.log)) return false;
  if (!states.some((state) => state === value.state)) return false;
  if (!("fingerprint" in value) || typeof value.fingerprint !== "string") return false;
  if (value.state === "failed" && !("failure" in value && isObject(value.failure))) return false;
  if (!("attempt" in value) || typeof value.attempt !== "number") return false;
  if (!("startedAt" in value) || typeof value.startedAt !== "number") return false;
  return "ttlMs" in value && typeof value.ttlMs === "number";
}

export const encode = (payload: ExecutionPayload): string => JSON.stringify(payload);

/** `undefined` for what this library did not write. */
export function decode(text: string | undefined): ExecutionPayload | undefined {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isPayload(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** A claim that was given back: nothing ran under it. */
function givenBack(payload: ExecutionPayload): ExecutionPayload {
  const { before = "not-done", attempt, log, ...rest } = payload;
  const started = log.at(-1)?.outcome === "started";
  return { ...rest, state: before, attempt: attempt - 1, log: started ? log.slice(0, -1) : log };
}

/** Reads the record and its payload together. What can't be read is uncertain: it must not run. */
export function standingOf(record: RecordView): Standing {
  const { fence, sealed, state, holder, remainingMs, expiresAt } = record;
  const seen = { fence, sealed, state, holder, remainingMs, expiresAt };
  const payload = decode(record.payload);
  if (state === "held") return { ...seen, status: "running", payload: payload ?? nothing };
  if (payload === undefined) {
    const unused = record.payload === undefined && !sealed;
    return { ...seen, status: unused ? "not-done" : "uncertain", payload: nothing };
  }
  if (payload.state !== "executing") return { ...seen, status: payload.state, payload };
  if (sealed) return { ...seen, status: "uncertain", payload };
  const before = givenBack(payload);
  return { ...seen, status: before.state === "uncertain" ? "uncertain" : "not-done", payload: before };
}

/** Whether the key was run, or is being run, with another input. */
export function inputDiffers({ payload }: Standing, fingerprint: string): boolean {
  return payload.attempt > 0 && payload.fingerprint !== fingerprint;
}
