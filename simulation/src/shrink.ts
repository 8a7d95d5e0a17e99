import type { Core } from "./core.ts";
import type { Plan, Script, Shape } from "./plan.ts";
import { run } from "./simulate.ts";
import type { Outcome } from "./simulate.ts";

/** More attempts than nearly every plan needs. */
const mostRuns = 600;

/** Every part without which the run may still fail, the biggest first. */
function* without<T>(items: readonly T[]): Generator<readonly T[], void, undefined> {
  for (let size = Math.ceil(items.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = items.length; from > 0; from -= size)
      yield items.filter((_, i) => i < from - size || i >= from);
  }
}

/** What a run may be like in a calmer world, one thing at a time. */
function* calmer(shape: Shape): Generator<Shape, void, undefined> {
  for (const fault of Object.keys(shape.network))
    yield { ...shape, network: { ...shape.network, [fault]: 0 } };
  yield { ...shape, rates: shape.rates.map(() => 1) };
  yield { ...shape, wallOffsetsMs: shape.wallOffsetsMs.map(() => 0) };
  yield { ...shape, timersLateMs: 0 };
  yield { ...shape, latencyMs: 1 };
  yield { ...shape, push: true };
  for (let processes = 1; processes < shape.processes; processes += 1) yield { ...shape, processes };
  for (const part of [0.25, 0.5, 0.75]) yield { ...shape, chaosMs: Math.ceil(shape.chaosMs * part) };
}

/** The same scripts, each sooner than it was drawn. */
function* sooner(scripts: readonly Script[]): Generator<readonly Script[], void, undefined> {
  const [first] = scripts;
  if (first === undefined) return;
  if (first.atMs > 0) yield scripts.map((script) => ({ ...script, atMs: script.atMs - first.atMs }));
  for (const moved of scripts) {
    const atMs = Math.floor(moved.atMs / 2);
    if (moved.atMs > 1) yield scripts.map((script) => (script === moved ? { ...script, atMs } : script));
  }
}

/**
 * The smallest plan found that breaks the same rule, run with a trace: fewer users and faults, messages that
 * arrive, a calmer world, and all of it sooner. The same plan gives the same answer.
 */
export function shrink(plan: Plan, rule: string, core?: Core): Outcome {
  const options = core === undefined ? {} : { core };
  let best = plan;
  let runs = 0;
  const fails = (candidate: Plan): boolean => {
    if (runs >= mostRuns) return false;
    runs += 1;
    if (run(candidate, options).violation?.rule !== rule) return false;
    best = candidate;
    return true;
  };
  /** Takes the first of the changes that still fails, again and again until none does. */
  function reduce(changes: () => Iterable<Plan>): boolean {
    let reduced = false;
    for (;;) {
      const before = best;
      for (const candidate of changes()) if (fails(candidate)) break;
      if (best === before) return reduced;
      reduced = true;
    }
  }
  const passes: (() => Iterable<Plan>)[] = [
    () => plansOf(without(best.scripts), (scripts) => ({ ...best, scripts })),
    () =>
      plansOf(
        calmer(best.shape),
        (shape) => ({ ...best, shape }),
        (shape) => !same(shape, best.shape),
      ),
    () => {
      const spared = best.shape.spared ?? [];
      const { hits } = run(best, options);
      return plansOf(without(hits), (kept) => ({
        ...best,
        shape: { ...best.shape, spared: [...spared, ...hits.filter((hit) => !kept.includes(hit))] },
      }));
    },
    () => plansOf(sooner(best.scripts), (scripts) => ({ ...best, scripts: ordered(scripts) })),
  ];
  for (let reduced = true; reduced && runs < mostRuns;) {
    reduced = false;
    for (const pass of passes) reduced = reduce(pass) || reduced;
  }
  return run(best, { ...options, trace: true });
}

function* plansOf<T>(
  parts: Iterable<T>,
  planOf: (part: T) => Plan,
  isNew: (part: T) => boolean = () => true,
): Generator<Plan, void, undefined> {
  for (const part of parts) if (isNew(part)) yield planOf(part);
}

const same = (a: Shape, b: Shape): boolean => JSON.stringify(a) === JSON.stringify(b);
const ordered = (scripts: readonly Script[]): readonly Script[] =>
  scripts.toSorted((a, b) => a.atMs - b.atMs);
