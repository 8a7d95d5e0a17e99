import type { Case, Requirement, Rule } from "./case.ts";
import { cases as allCases } from "./cases.ts";
import { contextOf, defaultCaseMs } from "./context.ts";
import type { Harness, Opened } from "./harness.ts";

export interface CaseResult {
  readonly id: string;
  readonly title: string;
  readonly rule: Rule;
  readonly status: "passed" | "failed" | "skipped";
  /** Why it was skipped, or how it failed; absent when it passed. */
  readonly reason?: string;
  readonly tookMs: number;
}

/** What a run showed; plain data, so that `JSON.stringify` keeps all of it. */
export interface Report {
  readonly backend: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly results: readonly CaseResult[];
}

export interface RunOptions {
  /** Which cases run; the others are left out of the report. @default all */
  only?: ((one: Case) => boolean) | undefined;
}

/** What each harness has been seen to offer, so that a skipped case opens nothing. */
const offers = new WeakMap<Harness, (requirement: Requirement) => boolean>();

function offer(opened: Opened): (requirement: Requirement) => boolean {
  return (requirement) => {
    if (requirement === "watch") return opened.backend.watch !== undefined;
    if (requirement === "prune") return opened.backend.info.prunes !== false;
    return opened[requirement] !== undefined;
  };
}

function missing(harness: Harness, { requires }: Case): string | undefined {
  const has = offers.get(harness);
  const needed = requires.find((requirement) => has?.(requirement) === false);
  return needed === undefined ? undefined : `needs ${needed}`;
}

/** Rejects when the harness skips a case that does not exist, or gives no reason. */
export function checkSkips(harness: Harness): void {
  for (const [id, reason] of Object.entries(harness.skip ?? {})) {
    if (!allCases.some((one) => one.id === id)) {
      throw new TypeError(`${harness.name} skips "${id}", but no case has that id: correct or remove it.`);
    }
    if (!/\S/.test(reason)) throw new TypeError(`${harness.name} skips "${id}" without a reason: give one.`);
  }
}

function within(limitMs: number, id: string, run: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = (): void => reject(new Error(`${id} did not end within ${limitMs} ms`));
    const timer = setTimeout(late, limitMs);
    run.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/**
 * Runs one case on a fresh backend. Resolves with nothing when it passed and with the reason when it does
 * not apply; rejects with what the backend did wrong.
 */
export async function runCase(harness: Harness, one: Case): Promise<string | undefined> {
  checkSkips(harness);
  const known = harness.skip?.[one.id] ?? missing(harness, one);
  if (known !== undefined) return known;
  const opened = await harness.open();
  try {
    offers.set(harness, offer(opened));
    const reason = missing(harness, one);
    if (reason !== undefined) return reason;
    await within(harness.timing?.caseMs ?? defaultCaseMs, one.id, one.run(contextOf(harness, opened)));
  } finally {
    await opened.close();
  }
  return undefined;
}

async function resultOf(harness: Harness, one: Case): Promise<CaseResult> {
  const { id, title, rule } = one;
  const startedAt = performance.now();
  const end = await runCase(harness, one).then(
    (reason) =>
      reason === undefined ? { status: "passed" as const } : { status: "skipped" as const, reason },
    (error: unknown) => ({
      status: "failed" as const,
      reason: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
    }),
  );
  return { id, title, rule, ...end, tookMs: Math.round(performance.now() - startedAt) };
}

/** How many cases run side by side unless the harness says otherwise. */
export const defaultConcurrency = 8;

/** Runs every case, first those that may run side by side, then the others one by one. */
export async function runConformance(harness: Harness, options: RunOptions = {}): Promise<Report> {
  checkSkips(harness);
  const { only = () => true } = options;
  const chosen = allCases.filter(only);
  const found = new Map<string, CaseResult>();
  const work = async (queue: Iterable<Case>): Promise<void> => {
    for (const one of queue) found.set(one.id, await resultOf(harness, one));
  };
  try {
    const sideBySide = chosen.filter(({ alone }) => !alone).values();
    const workers = Array.from({ length: harness.concurrency ?? defaultConcurrency }, () => work(sideBySide));
    await Promise.all(workers);
    await work(chosen.filter(({ alone }) => alone));
  } finally {
    await harness.close?.();
  }
  const results = chosen.flatMap(({ id }) => found.get(id) ?? []);
  const count = (status: CaseResult["status"]): number =>
    results.filter((result) => result.status === status).length;
  return {
    backend: harness.name,
    passed: count("passed"),
    failed: count("failed"),
    skipped: count("skipped"),
    results,
  };
}
