import { execFile } from "node:child_process";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { start } from "@coord/test-fixtures";
import { afterAll, expect, test } from "vitest";

const server = await start("postgres");
afterAll(() => server.stop());

const folder = dirname(import.meta.dirname);
const example = async (url: string): Promise<string> => {
  const args = ["--conditions=source", "--import", "tsx", "src/main.ts"];
  const options = { cwd: folder, env: { ...process.env, COORD_URL: url } };
  return (await promisify(execFile)(process.execPath, args, options)).stdout;
};

test("in memory every order is charged once", async () => {
  const output = await example("memory:");
  expect(output).toContain("4 orders, charged 1, 1, 1, 1 times");
  expect(output.match(/completed with ch_1/g)).toHaveLength(2);
  expect(output).toContain("was executed with another input");
  expect(output).toContain("the next one is told: uncertain");
  expect(output).toContain("and one that can ask the provider: completed with ch_2, replayed");
  expect(output).toContain("callers get: completed with ch_3, replayed");
  expect(output.match(/"first try", 1300: 201 .*ch_4/g)).toHaveLength(2);
  expect(output).toContain('"first try", 1: 422');
  expect(output).toContain("no key, 1300: 400");
}, 60_000);

test("on PostgreSQL also the one whose process was killed after it charged, and twice at once on one store", async () => {
  const outputs = await Promise.all([example(server.url), example(server.url)]);
  for (const output of outputs) {
    expect(output).toContain("it ended by SIGKILL");
    expect(output).toContain("lapse: completed with ch_3, replayed");
    expect(output).toContain("5 orders, charged 1, 1, 1, 1, 1 times");
  }
}, 120_000);
