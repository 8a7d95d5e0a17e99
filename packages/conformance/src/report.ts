import type { CaseResult, Report } from "./run.ts";

/** A report for people: what ran under each heading, what was skipped and why, what failed and how. */
export function formatReport(report: Report): string {
  const { backend, passed, failed, skipped, results } = report;
  const rules = [...new Set(results.map(({ rule }) => rule))];
  const width = Math.max(0, ...rules.map((rule) => rule.length));
  const lines = [`${backend}: ${passed} passed, ${failed} failed, ${skipped} skipped`, ""];
  for (const rule of rules) {
    const own = results.filter((result) => result.rule === rule);
    const counts = (["passed", "failed", "skipped"] as const)
      .map((status) => [status, own.filter((result) => result.status === status).length] as const)
      .filter(([, count]) => count > 0)
      .map(([status, count]) => `${count} ${status}`);
    lines.push(`  ${rule.padEnd(width)}  ${counts.join(", ")}`);
  }
  lines.push(...section("Failed", results, "failed"), ...section("Skipped", results, "skipped"));
  return `${lines.join("\n")}\n`;
}

function section(title: string, results: readonly CaseResult[], status: CaseResult["status"]): string[] {
  const own = results.filter((result) => result.status === status);
  if (own.length === 0) return [];
  const lines = own.flatMap((result) => {
    const reason = (result.reason ?? "").split("\n").map((line) => `      ${line}`);
    return [`  ${result.id}`, `    ${result.title}`, ...reason];
  });
  return ["", title, ...lines];
}
