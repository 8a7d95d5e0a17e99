import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { infoTable } from "../src/guarantees.ts";

it("the table of backends is what they say of themselves: else run `pnpm --filter @coord/docs guarantees`", () => {
  const text = readFileSync(join(import.meta.dirname, "../backends/index.md"), "utf8");
  expect(text).toContain(infoTable());
});
