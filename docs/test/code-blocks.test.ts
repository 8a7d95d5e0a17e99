import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { start } from "@coord/test-fixtures";
import { beforeAll, describe, expect, it } from "vitest";

/** Every block of TypeScript in the documentation is compiled; those marked `ts run` are run on PostgreSQL. */

const root = join(import.meta.dirname, "../..");
const blocksFolder = join(root, "docs/.blocks");
const exec = promisify(execFile);

function pages(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory())
      return ["node_modules", "test", "src", "dist", ".blocks", "api"].includes(entry.name)
        ? []
        : pages(path);
    return entry.name.endsWith(".md") && entry.name !== "CHANGELOG.md" ? [path] : [];
  });
}

const documents = [join(root, "README.md"), ...pages(join(root, "docs")), ...pages(join(root, "packages"))];

/** What examples take as given unless they make it themselves. */
const given: Readonly<Record<string, string>> = {
  assertFenced: 'import { assertFenced } from "@coord/core";',
  createCoordinator: 'import { createCoordinator } from "@coord/core";',
  openCoordinator: 'import { openCoordinator } from "@coord/core";',
  postgresBackend: 'import { postgresBackend } from "@coord/postgres";',
  coord: 'declare const coord: import("@coord/core").Coordinator;',
  backend: 'declare const backend: import("@coord/postgres").PostgresBackend;',
  pool: 'declare const pool: import("pg").Pool;',
  file: "declare const file: Blob;",
  upload: "declare function upload(file: Blob, options: { signal: AbortSignal }): Promise<void>;",
  report: "declare function report(): Promise<void>;",
  invoice: "declare const invoice: { id: number };",
  send: "declare function send(what: object, options?: { signal: AbortSignal }): Promise<void>;",
  work: "declare function work(): Promise<void>;",
  importPage: "declare function importPage(page: number, fence: bigint): Promise<void>;",
};

interface Block {
  readonly from: string;
  readonly file: string;
  readonly code: string;
  readonly runs: boolean;
}

function blocksOf(document: string): Block[] {
  const text = readFileSync(document, "utf8");
  return [...text.matchAll(/^```ts( run)?\n([\s\S]*?)^```/gm)].map(([, run, code = ""], i) => {
    const from = `${relative(root, document)} block ${i + 1}`;
    const name = from.replaceAll(/[^a-z0-9]+/gi, "-");
    const makes = (word: string): boolean =>
      new RegExp(`(const|let|function|class|await using) ${word}\\b|import [^;]*\\b${word}\\b[^;]*from`).test(
        code,
      );
    const needs = Object.keys(given).filter((word) => new RegExp(`\\b${word}\\b`).test(code) && !makes(word));
    // An early `return` is part of an example's story; at the top of a module it is no TypeScript.
    const wrapped = /^\s*(if .*)?return\b/m.test(code) && !code.includes("=> {\n") ? wrap(code) : code;
    return {
      from,
      file: `${name}.mts`,
      runs: run !== undefined,
      code: `${needs.map((word) => given[word]).join("\n")}\n${wrapped}\nexport {};\n`,
    };
  });
}

function wrap(code: string): string {
  const imports = code.split("\n").filter((line) => line.startsWith("import "));
  const rest = code.split("\n").filter((line) => !line.startsWith("import "));
  return [...imports, "export async function example(): Promise<void> {", ...rest, "}"].join("\n");
}

const blocks = documents.flatMap(blocksOf);
let output = "";

beforeAll(async () => {
  rmSync(blocksFolder, { recursive: true, force: true });
  mkdirSync(blocksFolder, { recursive: true });
  for (const { file, code } of blocks) writeFileSync(join(blocksFolder, file), code);
  const config = {
    extends: "../../tsconfig.json",
    compilerOptions: { noUnusedLocals: false },
    include: ["*.mts"],
  };
  writeFileSync(join(blocksFolder, "tsconfig.json"), JSON.stringify(config));
  output = await exec(join(root, "node_modules/.bin/tsc"), ["-p", blocksFolder, "--pretty", "false"], {
    cwd: root,
  }).then(
    ({ stdout }) => stdout,
    (error: { stdout?: string }) => error.stdout ?? String(error),
  );
}, 120_000);

describe("code in the documentation compiles", () => {
  it.each(blocks.map((block) => [block.from, block] as const))("%s", (_, { file }) => {
    expect(output.split("\n").filter((line) => line.includes(`/${file}(`))).toEqual([]);
  });
  it("was found at all, and nothing else was wrong", () => {
    expect(blocks.length).toBeGreaterThan(10);
    expect(output.split("\n").filter((line) => line !== "" && !line.includes(".mts("))).toEqual([]);
  });
});

describe("code marked to run runs", () => {
  it.each(blocks.filter(({ runs }) => runs).map((block) => [block.from, block] as const))(
    "%s",
    { timeout: 60_000 },
    async (_, { file }) => {
      const server = await start("postgres");
      try {
        await exec(process.execPath, ["--conditions=source", "--import", "tsx", join(blocksFolder, file)], {
          cwd: root,
          env: { ...process.env, DATABASE_URL: server.url, COORD_URL: server.url },
        });
      } finally {
        await server.stop();
      }
    },
  );
});

describe("links between pages", () => {
  const links = documents.flatMap((document) =>
    [...readFileSync(document, "utf8").matchAll(/\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)/g)].map(
      ([, target = ""]) => [relative(root, document), target, join(dirname(document), target)] as const,
    ),
  );
  it.each(links)("%s → %s", (_, _target, path) => {
    expect(existsSync(path)).toBe(true);
  });
});

it("has a heading for every error code", () => {
  const source = readFileSync(join(root, "packages/core/src/errors.ts"), "utf8");
  const codes = [...source.matchAll(/^  \| "(COORD_[A-Z_]+)"/gm)].map(([, code]) => code);
  const headings = [...readFileSync(join(root, "docs/errors.md"), "utf8").matchAll(/^## (COORD_\w+)/gm)].map(
    ([, code]) => code,
  );
  expect(headings.toSorted()).toEqual(codes.toSorted());
});

it("keeps the README under 150 lines", () => {
  expect(readFileSync(join(root, "README.md"), "utf8").split("\n").length).toBeLessThan(150);
});
