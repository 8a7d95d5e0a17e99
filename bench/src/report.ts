import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, loadavg } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Row } from "./row.ts";
import type { BenchStore } from "./store.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const page = join(root, "docs/benchmarks.md");

export const loads = (): number[] => loadavg().map((each) => Math.round(each * 10) / 10);

/** What was measured on one store, and under which circumstances. */
export interface Report {
  readonly store: string;
  readonly version: string;
  readonly node: string;
  readonly cores: number;
  readonly processor: string;
  /** Averages of 1, 5 and 15 minutes. */
  readonly loadBefore: readonly number[];
  readonly loadAfter: readonly number[];
  readonly quick: boolean;
  readonly date: string;
  readonly tookSeconds: number;
  readonly rows: readonly Row[];
}

export function circumstances(): Pick<Report, "node" | "cores" | "processor" | "date"> {
  return {
    node: process.version,
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    date: new Date().toISOString().slice(0, 10),
  };
}

/** This process and the server keep about this many cores busy by themselves. */
const ownLoad = 2;

export function markdownOf(store: BenchStore, report: Report): string {
  const { loadBefore, loadAfter, cores } = report;
  const busy = Math.max(loadBefore[0] ?? 0, (loadAfter[0] ?? 0) - ownLoad) > cores / 2;
  const lines = [
    `## ${store.title}`,
    "",
    `${store.title} ${report.version}, Node ${report.node.slice(1)}, ${cores} cores (${report.processor}), ${report.date},`,
    `${report.quick ? "`--quick`" : "full length"}, ${report.tookSeconds} s. Load average before: ${loadBefore.join(", ")}; after: ${loadAfter.join(", ")}.`,
    ...(busy
      ? ["", "**Preliminary:** the machine was busy with other work. Only the ratios mean something."]
      : []),
    "",
    "| cell | who | measured | ratio | aim | |",
    "| --- | --- | --- | --- | --- | --- |",
    ...report.rows.map(
      ({ cell, who, measured, ratio, aim, note }) =>
        `| ${cell} | ${who} | ${measured} | ${ratio?.toFixed(2) ?? ""} | ${aim ?? ""} | ${note ?? ""} |`,
    ),
  ];
  return `${lines.join("\n")}\n`;
}

/** Replaces one store's part of docs/benchmarks.md; what is not between marks stays. */
export async function writePage(store: BenchStore, report: Report): Promise<void> {
  const text = await readFile(page, "utf8");
  const [begin, end] = [`<!-- figures: ${store.name} -->`, `<!-- end: ${store.name} -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`docs/benchmarks.md has no place between ${begin} and ${end}`);
  const body = `${begin}\n\n${markdownOf(store, report)}\n`;
  await writeFile(page, text.slice(0, from) + body + text.slice(to));
  await promisify(execFile)(join(root, "node_modules/.bin/oxfmt"), [page]);
}
