import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

/** One run under a lease, for node_exporter's textfile collector. */
export interface RunMetrics {
  readonly key: string;
  /** `ran`: the command ended by itself, with whatever code. */
  readonly outcome: "ran" | "conflict" | "lost" | "unavailable" | "failed";
  readonly exitCode: number;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  readonly waitedMs: number;
  /** Of the command; absent where it did not run. */
  readonly ranMs?: number | undefined;
}

const outcomes = ["ran", "conflict", "lost", "unavailable", "failed"] as const;
const success = "coord_run_last_success_timestamp_seconds";

const label = (text: string): string =>
  text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');

/** When the command last ended with 0, as the file had it: that outlives runs that did not succeed. */
function lastSuccess(path: string, key: string): string | undefined {
  try {
    const line = `${success}{key="${label(key)}"} `;
    return readFileSync(path, "utf8")
      .split("\n")
      .find((each) => each.startsWith(line))
      ?.slice(line.length);
  } catch {
    return undefined;
  }
}

const seconds = (ms: number): string => String(Math.round(ms) / 1000);

export function metricsText(run: RunMetrics, succeededAt: string | undefined): string {
  const key = `key="${label(run.key)}"`;
  const lines: string[] = [];
  const gauge = (name: string, help: string, samples: readonly (readonly [string, string])[]): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`);
    for (const [labels, value] of samples) lines.push(`${name}{${labels}} ${value}`);
  };
  gauge("coord_run_started_timestamp_seconds", "When the last run began, or tried to.", [
    [key, seconds(run.startedAtMs)],
  ]);
  gauge("coord_run_wait_seconds", "How long the last run waited for the lease.", [
    [key, seconds(run.waitedMs)],
  ]);
  if (run.ranMs !== undefined)
    gauge("coord_run_duration_seconds", "How long the command of the last run took.", [
      [key, seconds(run.ranMs)],
    ]);
  gauge("coord_run_exit_code", "What coord ended with.", [[key, String(run.exitCode)]]);
  gauge(
    "coord_run_outcome",
    "1 for what became of the last run.",
    outcomes.map((outcome) => [`${key},outcome="${outcome}"`, outcome === run.outcome ? "1" : "0"]),
  );
  const now = run.outcome === "ran" && run.exitCode === 0;
  const last = now ? seconds(run.startedAtMs + run.waitedMs + (run.ranMs ?? 0)) : succeededAt;
  if (last !== undefined) gauge(success, "When the command last ended with 0 on this host.", [[key, last]]);
  return `${lines.join("\n")}\n`;
}

/** Written beside and renamed, so that node_exporter never reads half of it. */
export function writeMetrics(path: string, run: RunMetrics): void {
  const beside = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(beside, metricsText(run, lastSuccess(path, run.key)), { mode: 0o644 });
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}
