import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { instruments } from "@coord/metrics";
import { describe, expect, it } from "vitest";
import { metricName } from "../src/index.ts";
import { needsPromtool, promtool } from "./promtool.ts";

const root = join(import.meta.dirname, "..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets: readonly { readonly expr: string }[];
  }[];
}
const dashboard: Dashboard = JSON.parse(read("dashboard.json"));
const expressions = dashboard.panels.flatMap(({ title, targets }) =>
  targets.map(({ expr }) => [title, expr] as const),
);

/** Every metric that an expression names, without what histograms add to the name. */
const named = (text: string): string[] =>
  [...text.matchAll(/\bcoord_\w+/g)].map(([name]) => name.replace(/_(bucket|count|sum)$/, ""));
const known = new Set(Object.values(instruments).map(metricName));

describe("the alert rules", () => {
  it.skipIf(needsPromtool)("are rules, and fire when they should and not before", async () => {
    expect(await promtool(["check", "rules", "alerts.yml"], "", root)).toBe("");
    expect(await promtool(["test", "rules", "alerts.test.yml"], "", join(root, "test"))).toBe("");
  });

  it("ask for metrics that there are", () => {
    const names = named(read("alerts.yml"));
    expect(names.length).toBeGreaterThanOrEqual(5);
    expect(names.filter((name) => !known.has(name))).toEqual([]);
  });
});

describe("the dashboard", () => {
  it("is one by Grafana's own schema", { timeout: 60_000 }, async () => {
    // Within the package, so that the compiler finds the schema.
    const folder = mkdtempSync(join(root, "test/.dashboard-"));
    try {
      const text = `import type { Dashboard } from "@grafana/schema";\nexport const dashboard: Dashboard = ${read("dashboard.json")};\n`;
      writeFileSync(join(folder, "dashboard.ts"), text);
      const flags = [
        "--ignoreConfig",
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--module",
        "nodenext",
        "--moduleResolution",
        "nodenext",
      ];
      const tsc = join(root, "../../node_modules/.bin/tsc");
      const { stdout } = await promisify(execFile)(tsc, [...flags, "dashboard.ts"], { cwd: folder }).catch(
        (error: { stdout?: string }) => ({ stdout: error.stdout ?? String(error) }),
      );
      expect(stdout).toBe("");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.each(expressions)("%s asks for metrics that there are: %s", (_, expr) => {
    expect(named(expr).filter((name) => !known.has(name))).toEqual([]);
    expect(named(expr).length).toBeGreaterThan(0);
  });

  it.skipIf(needsPromtool)("asks in expressions that Prometheus parses", async () => {
    const rules = expressions.map(([, expr], i) => ({
      record: `panel:${i}`,
      expr: expr.replaceAll("$__rate_interval", "5m").replaceAll("$namespace", ".*"),
    }));
    const folder = mkdtempSync(join(root, "test/.rules-"));
    try {
      writeFileSync(join(folder, "rules.yml"), JSON.stringify({ groups: [{ name: "panels", rules }] }));
      expect(await promtool(["check", "rules", "rules.yml"], "", folder)).toBe("");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

it("is described in the guide, every metric of it", () => {
  const guide = readFileSync(join(root, "../../docs/guides/metrics.md"), "utf8");
  expect([...known].filter((name) => !guide.includes(`| \`${name}\``))).toEqual([]);
});
