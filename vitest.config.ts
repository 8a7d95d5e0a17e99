import { existsSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

const resolve = { conditions: ["source"] };
const project = (name: string, root: string, include = "test/**/*.test.ts") => ({
  resolve,
  ssr: { resolve },
  test: { name, root, include: [include], pool: "forks" as const },
});
const packages = readdirSync("packages").filter((name) => existsSync(`packages/${name}/test`));

export default defineConfig({
  test: {
    // Most of a test's time is waiting for servers, deadlines and processes.
    maxWorkers: 2 * availableParallelism(),
    projects: [
      ...packages.map((name) => project(name, `packages/${name}`)),
      project("test-fixtures", "test-fixtures"),
      project("simulation", "simulation"),
      project("demo", "demo"),
      project("newcomer", "newcomer"),
      project("docs", "docs"),
      project("examples", "examples", "**/*.test.ts"),
    ],
  },
});
