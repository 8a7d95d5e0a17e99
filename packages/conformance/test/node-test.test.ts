import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { cases } from "../src/cases.ts";

const child = join(import.meta.dirname, "node-test-child.ts");

async function runChild(...args: string[]): Promise<{ code: number; output: string }> {
  const flags = ["--conditions=source", "--import", "tsx", "--test-reporter=tap", child, ...args];
  // Inside a test runner `node:test` would report to it and print nothing.
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
  const run = promisify(execFile)(process.execPath, flags, { env, maxBuffer: 2 ** 26 });
  return await run.then(
    ({ stdout }) => ({ code: 0, output: stdout }),
    (error: { code: number; stdout: string }) => ({ code: error.code, output: error.stdout }),
  );
}

test("node:test runs each case or shows it as skipped with its reason", { timeout: 120_000 }, async () => {
  const { code, output } = await runChild();
  expect(output).toMatch(/^# fail 0$/m);
  expect(code).toBe(0);
  for (const { id } of cases) expect(output).toContain(` - ${id}: `);
  expect(output).toMatch(/reading\/paging: .* # SKIP the store has no room for 1,000 records/);
  expect(output).toMatch(/^# skipped 1$/m);
  expect(output).toContain("every case has run, or was skipped with its reason");
});

test("node:test fails for a broken backend", { timeout: 120_000 }, async () => {
  const { code, output } = await runChild("--broken");
  expect(code).not.toBe(0);
  expect(output).toMatch(/^\s*not ok \d+ - overruling\/now-frees: /m);
});
