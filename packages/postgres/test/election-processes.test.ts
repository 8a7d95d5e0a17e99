/**
 * Five processes that stand for one office, killed (-9), stopped and continued, their store restarted and paused.
 * The leader writes into a table of another database all the time. `COORD_ELECTION_ROUNDS=100` runs more rounds,
 * `COORD_ELECTION_STORE=redis` on Redis.
 */
import assert from "node:assert/strict";
import { openCoordinator } from "@coord/core";
import { start } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, describe, expect, test } from "vitest";
import {
  checkTerms,
  checkWrites,
  leading,
  leave,
  logOf,
  type Setting,
  type Stage,
  startStage,
  succeeded,
  tables,
  type Write,
} from "./election-processes.ts";
import { type Kind, play, type Round } from "./election-rounds.ts";
import { freshName } from "./harness.ts";
import { seeded } from "./once-random.ts";

const order: readonly Kind[] = [
  "kill",
  "stop",
  "resign",
  "pause",
  "restart",
  "freeze",
  "followers",
  "hiccup",
  "storm",
];
const roundCount = Number(process.env["COORD_ELECTION_ROUNDS"] ?? 4);
const seed = Number(process.env["COORD_ELECTION_SEED"] ?? Date.now() % 1_000_000);
const storeKind = process.env["COORD_ELECTION_STORE"] === "redis" ? "redis" : "postgres";
const ttlMs = 2000;
/** What core keeps between a leader's own deadline and the store's, for this ttl. */
const marginMs = ttlMs / 10;
const slackMs = 10_000;
const proofLimitMs = 120_000 + roundCount * 30_000;

const [store, server] = await Promise.all([start(storeKind), start("postgres")]);
const pools: pg.Pool[] = [];
const stages: Stage[] = [];
afterAll(async () => {
  await Promise.all(stages.map(leave));
  await Promise.all(pools.map((pool) => pool.end()));
  await Promise.all([store.stop(), server.stop()]);
}, 60_000);

/** A database of its own to write to, and a namespace of its own. */
async function setting(size: number, mutant?: string): Promise<Setting> {
  const { namespace } = freshName();
  const admin = new pg.Client({ connectionString: server.url });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${namespace}`);
  await admin.end();
  const url = new URL(server.url);
  url.pathname = namespace;
  const table = new pg.Pool({ connectionString: url.href, max: 2 });
  table.on("error", () => {});
  pools.push(table);
  await table.query(tables);
  const coord = await openCoordinator({ url: store.url, namespace });
  await coord.setup();
  await coord.close();
  assert.ok(store.faults !== undefined, "needs a store of its own that may be killed");
  const common = { storeUrl: store.url, faults: store.faults, tableUrl: url.href };
  return { ...common, table, namespace, ttlMs, size, ...(mutant === undefined ? {} : { mutant }) };
}

async function stageOf(size: number, mutant?: string): Promise<Stage> {
  const stage = await startStage(await setting(size, mutant));
  stages.push(stage);
  return stage;
}

/** The longest time in which nobody wrote, of each round, in milliseconds. */
function gaps(log: readonly Write[], rounds: readonly Round[]): Partial<Record<Kind, number[]>> {
  const longest: Partial<Record<Kind, number[]>> = {};
  for (const [i, { kind, beganAt }] of rounds.entries()) {
    const endedAt = rounds[i + 1]?.beganAt ?? Infinity;
    let gap = 0;
    for (const [j, { at }] of log.entries())
      if (at >= beganAt && at < endedAt) gap = Math.max(gap, at - (log[j - 1]?.at ?? at));
    (longest[kind] ??= []).push(gap);
  }
  return longest;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

describe(`five processes on ${storeKind}, ${roundCount} rounds, seed ${seed}`, () => {
  test("have one leader at a time, whatever befalls them", { timeout: proofLimitMs }, async () => {
    const stage = await stageOf(5);
    const random = seeded(seed);
    const rounds: Round[] = [];
    for (let i = 0; i < roundCount; i += 1) {
      const kind = order[i % order.length];
      assert.ok(kind !== undefined);
      rounds.push(await play(stage, kind, random));
    }
    await leave(stage);
    const log = await logOf(stage);
    checkWrites(log);
    const checked = checkTerms(stage.terms, marginMs);
    const refused = stage.terms.reduce((sum, term) => sum + term.refused, 0);
    // Every leader that was stopped when it was about to write wrote when it went on, and the table refused it.
    expect(refused).toBeGreaterThanOrEqual(rounds.filter(({ kind }) => kind === "stop").length);
    const found = gaps(log, rounds);
    for (const gap of [...(found.kill ?? []), ...(found.stop ?? [])])
      expect(gap).toBeLessThan(ttlMs + slackMs);
    const ordered = stage.terms.toSorted((a, b) => (a.fence < b.fence ? -1 : 1));
    const passedOn = ordered.flatMap(({ settledAt, candidate, electedAt }, i) => {
      const next = ordered[i + 1];
      const struck = candidate.struckAt.some((at) => at >= electedAt && at <= (settledAt ?? Infinity));
      if (struck || next === undefined || settledAt === undefined) return [];
      const resigned = rounds.some(
        ({ kind, beganAt }, j) =>
          kind === "resign" && settledAt >= beganAt && settledAt < (rounds[j + 1]?.beganAt ?? Infinity),
      );
      return resigned ? [next.electedAt - settledAt] : [];
    });
    const perKind = Object.entries(found).map(
      ([kind, values]) => `${kind} ${median(values)} (${Math.max(...values)})`,
    );
    console.log(
      [
        `${rounds.length} rounds on ${storeKind}, ttl ${ttlMs} ms: ${log.length} writes in ${stage.terms.length} terms,`,
        `${refused} stale writes refused, ${checked} ends of terms before the next began;`,
        `nobody wrote for, median (longest) ms: ${perKind.join(", ")};`,
        `a resigned term passed on in ${median(passedOn)} (${Math.max(0, ...passedOn)}) ms`,
      ].join(" "),
    );
  });
});

test(
  "the same look at the table finds a leader that writes without its fence",
  {
    timeout: 90_000,
  },
  async () => {
    const stage = await stageOf(2, "unfenced");
    await play(stage, "stop", seeded(seed));
    await leave(stage);
    const log = await logOf(stage);
    expect(() => checkWrites(log)).toThrow(/a write under \d+ came after one under \d+/);
  },
);

// Short runs have the case below, which needs no processes.
test.runIf(roundCount > order.length)(
  "the same look at terms finds leaders that do not ask for their renewal (in long runs)",
  { timeout: 90_000 },
  async () => {
    const stage = await stageOf(2, "deaf");
    await succeeded(stage, (await leading(stage)).fence);
    expect(() => checkTerms(stage.terms, marginMs)).toThrow(/the term \d+ ended \w+ ms after \d+ had begun/);
    await leave(stage);
  },
);

test("the same look at terms finds one that outlived the next one's election", () => {
  const candidate = { process: undefined as never, ready: true, alive: true, struckAt: [] };
  const term = { candidate, refused: 0, poised: false, electedAt: 0, endedAt: 1001 };
  expect(() =>
    checkTerms(
      [
        { ...term, fence: 1n },
        { ...term, fence: 2n, electedAt: 1000 },
      ],
      marginMs,
    ),
  ).toThrow("the term 1 ended 1 ms after 2 had begun");
});
