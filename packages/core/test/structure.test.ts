import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const source = join(import.meta.dirname, "../src");

/** Each file imports only files above it. */
const order = [
  "backend",
  "errors",
  "json",
  "validate",
  "within",
  "record",
  "clock",
  "events",
  "call",
  "pages",
  "register",
  "deadline",
  "known-held",
  "line",
  "renewer",
  "holding",
  "lease",
  "acquire",
  "with-lease",
  "clean-up",
  "once-record",
  "once-api",
  "once-outcome",
  "once-plan",
  "execution",
  "once-settle",
  "reconcile",
  "once",
  "wrap-once",
  "executions",
  "memory",
  "cas-backend",
  "election-api",
  "presence",
  "observe",
  "callbacks",
  "term",
  "election-options",
  "election",
  "api",
  "coordinator",
  "config",
  "index",
];

const importsOf = (file: string): string[] =>
  [...readFileSync(join(source, `${file}.ts`), "utf8").matchAll(/from "\.\/([a-z-]+)\.ts"/g)].map(
    ([, name]) => name ?? "",
  );

it("names every file of core in the order of imports", () => {
  const files = readdirSync(source).map((file) => file.replace(/\.ts$/, ""));
  expect(files.toSorted()).toEqual(order.toSorted());
});

it.each(order)("%s imports only files above it", (file) => {
  const above = order.slice(0, order.indexOf(file));
  expect(importsOf(file).filter((name) => !above.includes(name))).toEqual([]);
});

it.each(["memory", "cas-backend"])("%s imports only contract, errors and record", (file) => {
  expect(importsOf(file).filter((name) => !["backend", "errors", "record"].includes(name))).toEqual([]);
});

it("depends on no package", () => {
  const manifest: unknown = JSON.parse(readFileSync(join(source, "../package.json"), "utf8"));
  expect(manifest).not.toHaveProperty("dependencies");
  expect(manifest).not.toHaveProperty("peerDependencies");
});
