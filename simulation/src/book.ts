import type { LeaseRecord } from "@coord/core";
import type { SimProcess } from "./process.ts";
import type { Handle } from "./sim.ts";

/** One call of `once`. */
export interface OnceCall {
  /** Unique; it is the `holder` of its claims. */
  readonly label: string;
  readonly process: SimProcess;
  readonly life: number;
  readonly id: string;
  readonly askedAt: number;
  readonly input: string;
  /** It takes an uncertain execution as one that may run again: downstream knows the idempotency key. */
  readonly reruns: boolean;
  settledAt: number | undefined;
  /** How many functions it started. */
  runs: number;
}

/** One run of a function. */
export interface Run {
  readonly call: OnceCall;
  readonly handle: Handle;
  /** What its key had when it began. */
  readonly key: KeyBook;
  readonly maxHoldMs: number;
  /** In true time, as all that follows. */
  readonly beganAt: number;
  /** When it had its effect. */
  effectAt: number | undefined;
  effects: number;
  endedAt: number | undefined;
  ended: "returned" | "threw" | undefined;
  error: unknown;
  /** Whether its answer commits in a transaction of its own. */
  readonly inTransaction: boolean;
}

/** What was done under one key since clean-up last forgot it. */
export interface KeyBook {
  readonly runs: Run[];
  /** What downstream answers, now and whenever it is asked again. */
  response: string | undefined;
}

/** What is said to have been done, by those who did it; the records must agree with it. */
export interface Book {
  readonly calls: OnceCall[];
  readonly keys: ReadonlyMap<string, KeyBook>;
  /** All responses of a key, also of what is forgotten. */
  readonly responses: Set<string>;
  /** Decisions that somebody has asked for, by who asked: the payload's state, and the fence it was for. */
  readonly asked: Map<string, { readonly state: string; readonly fence: bigint }>;
  of(id: string): KeyBook;
  forget(id: string): void;
  begin(run: Run): void;
  run(id: string, grant: Handle["grant"]): Run | undefined;
  runOf(call: OnceCall): Run | undefined;
  call(label: string): OnceCall | undefined;
}

export function createBook(): Book {
  const keys = new Map<string, KeyBook>();
  const calls: OnceCall[] = [];
  const runs: Run[] = [];
  const book: Book = {
    calls,
    keys,
    responses: new Set(),
    asked: new Map(),
    of(id) {
      let entry = keys.get(id);
      if (entry === undefined) {
        entry = { runs: [], response: undefined };
        keys.set(id, entry);
      }
      return entry;
    },
    forget: (id) => void keys.delete(id),
    begin(run) {
      runs.push(run);
      run.key.runs.push(run);
    },
    run: (id, { grantId, fence }) =>
      runs.find(
        ({ handle }) => handle.id === id && handle.grant.grantId === grantId && handle.grant.fence === fence,
      ),
    runOf: (call) => runs.find((run) => run.call === call),
    call: (label) => calls.find((one) => one.label === label),
  };
  return book;
}

export const isOver = ({ endedAt, handle }: Run): boolean =>
  endedAt !== undefined || handle.process.life !== handle.life;

/** What somebody who knows everything would say became of it. */
export function truthOf({ runs, response }: KeyBook): "completed" | "not-done" | "unknown" {
  if (response !== undefined) return "completed";
  // Who works in a transaction does not commit it any more once somebody has decided.
  return runs.every((run) => isOver(run) || run.inTransaction) ? "not-done" : "unknown";
}

/** The payload of an execution as the simulation reads it, on its own. */
export interface StoredExecution {
  readonly state: string;
  readonly response: string | undefined;
  /** Who wrote the last entry of its log. */
  readonly by: string | undefined;
  readonly note: string | undefined;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;
const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

export function readExecution(record: LeaseRecord | null): StoredExecution | undefined {
  if (record?.payload === undefined || !record.payload.startsWith("{")) return undefined;
  const payload: unknown = JSON.parse(record.payload);
  if (!isObject(payload)) return undefined;
  const { state, response, log } = payload;
  const last: unknown = Array.isArray(log) ? log.at(-1) : undefined;
  const entry = isObject(last) ? last : {};
  return {
    state: text(state) ?? "",
    response: isObject(response) ? text(response["value"]) : undefined,
    by: text(entry["by"]),
    note: text(entry["note"]),
  };
}
