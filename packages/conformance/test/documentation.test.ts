import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const guide = readFileSync(join(import.meta.dirname, "../../../docs/custom-backend.md"), "utf8");

test.each(["file-backend.ts", "versioned-backend.ts", "file-backend.test.ts"])(
  "the guide on custom backends shows %s as it is tested",
  (file) => {
    const text = readFileSync(join(import.meta.dirname, "examples", file), "utf8");
    expect(guide.includes(`\`\`\`typescript\n${text}\`\`\``), `put ${file} into the guide as it is`).toBe(
      true,
    );
  },
);
