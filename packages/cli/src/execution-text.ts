import type { ExecutionInfo } from "@coord/core";
import { showDuration } from "./duration.ts";
import { paint, printable, toJson } from "./terminal.ts";

export const executionHead = ["STATUS", "RUNS", "STARTED", "FENCE", "KEY", "HOLDER"] as const;

const colors = {
  running: "cyan",
  completed: "green",
  failed: "red",
  uncertain: "yellow",
  "not-done": "dim",
} as const;

export function executionRow(execution: ExecutionInfo): string[] {
  const { status, attempt, startedAt, fence, key, holder } = execution;
  return [
    paint(colors[status], status),
    String(attempt),
    startedAt?.toISOString() ?? "-",
    String(fence),
    printable(key),
    printable(holder),
  ];
}

export function executionLines(execution: ExecutionInfo): [string, string][] {
  const { key, status, fence, holder, attempt, remainingMs, startedAt, failure, attempts } = execution;
  const lines: [string, string][] = [
    ["key", printable(key)],
    ["status", paint(colors[status], status)],
    [status === "running" ? "run by" : "last run by", printable(holder)],
    ["fence", String(fence)],
    ["runs", String(attempt)],
  ];
  if (startedAt !== undefined) lines.push(["first begun", startedAt.toISOString()]);
  if (status === "running")
    lines.push(["claim ends in", `${showDuration(remainingMs)}, unless it is renewed`]);
  if (execution.progress !== undefined) lines.push(["progress", printable(toJson(execution.progress))]);
  if (status === "completed") {
    const response = execution.notStored ?? toJson(execution.response ?? null);
    lines.push(["response", printable(response)]);
  }
  if (failure !== undefined) lines.push(["failure", printable(`${failure.name}: ${failure.message}`)]);
  for (const { at, by, outcome, error, note } of attempts) {
    const why = [error, note].filter((text) => text !== undefined).join(": ");
    const text = `${outcome} by ${by}${why === "" ? "" : ` (${why})`}`;
    lines.push([new Date(at).toISOString(), printable(text)]);
  }
  return lines;
}
