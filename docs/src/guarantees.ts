/**
 * `tsx docs/src/guarantees.ts [REPORT.json]`: writes the tables of `docs/backends/index.md`: what the backends say of
 * themselves, and what the conformance suite said of them in a run of vitest with `--reporter=json`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { memoryBackend } from "@coord/core";
import type { Backend } from "@coord/core";
import { gcsBackend } from "@coord/gcs";
import { mongodbBackend } from "@coord/mongodb";
import { mysqlBackend } from "@coord/mysql";
import { postgresBackend } from "@coord/postgres";
import { redisStreamsBackend } from "@coord/redis-streams";

const page = join(import.meta.dirname, "../backends/index.md");

/** They open nothing until they are asked for something. */
const backends: readonly (readonly [string, Backend, string])[] = [
  ["[PostgreSQL](postgres.md)", postgresBackend({ url: "postgres://localhost/x" }), "LISTEN / NOTIFY"],
  ["[MySQL, MariaDB](mysql.md)", mysqlBackend({ url: "mysql://localhost/x" }), "named locks"],
  ["[Redis, Valkey](redis-streams.md)", redisStreamsBackend({ url: "redis://localhost" }), "streams"],
  [
    "[MongoDB](mongodb.md)",
    mongodbBackend({ url: "mongodb://localhost/x" }),
    "change streams, on a replica set",
  ],
  ["[Cloud Storage](gcs.md)", gcsBackend({ url: "gs://bucket" }), "nothing"],
  ["memory, one process", memoryBackend(), "the process itself"],
];

const table = (rows: readonly (readonly string[])[]): string => {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  const [head = [], ...rest] = rows;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rest.map(line)].join("\n");
};

/** What each backend's `info` says. */
export function infoTable(): string {
  const head = [
    "store",
    "clock that decides",
    "least ttl",
    "lives longer by at most",
    "wakes waiters by",
    "polls every",
    "renewals a call",
  ];
  const rows = backends.map(([name, { info, ...backend }, wakes]) => [
    name,
    info.clock === "observed" ? "the observers'" : "the store's",
    `${info.minTtlMs ?? 250} ms`,
    `${info.granularityMs ?? 1} ms`,
    "watch" in backend ? wakes : "nothing",
    `${info.pollMs ?? 100} ms${"watch" in backend ? " without wake-ups" : ""}`,
    String(info.maxRenewBatch ?? 1000),
  ]);
  return table([head, ...rows]);
}

interface VitestReport {
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly ancestorTitles: readonly string[];
      readonly title: string;
      readonly status: string;
    }[];
  }[];
}

/** Backends of the suite's own tests and of its guide. */
const examples = new Set(["file", "versioned", "simulated"]);

/** How many cases each store passed and skipped; only cases, not the check that all of them ran. */
function reportTable(file: string): string {
  const report: VitestReport = JSON.parse(readFileSync(file, "utf8"));
  const counts = new Map<string, { passed: number; failed: number; skipped: string[] }>();
  for (const { ancestorTitles, title, status } of report.testResults.flatMap(
    ({ assertionResults }) => assertionResults,
  )) {
    const suite = ancestorTitles.find((each) => each.endsWith(" keeps the contract"));
    const [, id] = /^([a-z-]+\/[a-z0-9-]+): /.exec(title) ?? [];
    if (suite === undefined || id === undefined) continue;
    const name = suite.replace(" keeps the contract", "");
    if (examples.has(name)) continue;
    const count = counts.get(name) ?? { passed: 0, failed: 0, skipped: [] };
    counts.set(name, count);
    if (status === "passed") count.passed += 1;
    else if (status === "failed") count.failed += 1;
    else count.skipped.push(id);
  }
  const rows = [...counts].map(([name, { passed, failed, skipped }]) => [
    name,
    String(passed),
    String(failed),
    skipped.length === 0 ? "none" : `${skipped.length}: ${skipped.toSorted().join(", ")}`,
  ]);
  return table([
    ["ran on", "passed", "failed", "skipped"],
    ...rows.toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1)),
  ]);
}

/** The page with the text between two marks replaced. */
function withPart(text: string, part: string, content: string): string {
  const marks = new RegExp(`(<!-- ${part} -->\\n)[\\s\\S]*?(<!-- end of ${part} -->)`);
  if (!marks.test(text)) throw new Error(`${page} has no marks for ${part}`);
  return text.replace(marks, (_, begin: string, end: string) => `${begin}\n${content}\n\n${end}`);
}

if (process.argv[1] === import.meta.filename) {
  const [report] = process.argv.slice(2);
  let text = withPart(readFileSync(page, "utf8"), "info", infoTable());
  if (report !== undefined) text = withPart(text, "conformance", reportTable(report));
  writeFileSync(page, text);
}
