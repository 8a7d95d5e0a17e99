import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { start } from "@coord/test-fixtures";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

/** What somebody does who has just found the packages: install core and one adapter with npm, and use them. */

const root = join(import.meta.dirname, "../..");
const project = mkdtempSync(join(tmpdir(), "coord-newcomer-"));
const packs = join(root, ".packs");
const exec = promisify(execFile);
let url = "";
let stop: () => Promise<void> = async () => {};

const run = (command: string, args: string[], env: Record<string, string | undefined> = {}) =>
  exec(command, args, {
    cwd: project,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
  });
const write = (name: string, text: string): void => writeFileSync(join(project, name), text);

const versionOf = (name: string, from: string): string => {
  const path = createRequire(join(root, from, "package.json")).resolve(`${name}/package.json`);
  return String(JSON.parse(readFileSync(path, "utf8")).version);
};

/** The first example of the README, as people copy it. */
function readmeExample(): string {
  const readme = readFileSync(join(root, "README.md"), "utf8");
  const example = /```ts run\n([\s\S]*?)```/.exec(readme)?.[1];
  if (example === undefined) throw new Error("README.md has no example marked `ts run`");
  return example;
}

beforeAll(async () => {
  if (readdirSync(root).includes(".packs")) rmSync(packs, { recursive: true });
  await exec(
    "npx",
    ["--yes", "pnpm@12.21.0", "exec", "turbo", "run", "build", "--filter=@coord/postgres..."],
    { cwd: root },
  );
  await exec(
    "npx",
    [
      "--yes",
      "pnpm@12.21.0",
      "-r",
      "--filter",
      "@coord/core",
      "--filter",
      "@coord/postgres",
      "pack",
      "--pack-destination",
      packs,
    ],
    { cwd: root },
  );
  write("package.json", JSON.stringify({ name: "newcomer", private: true }));
  const tarballs = readdirSync(packs).map((name) => join(packs, name));
  const tools = [
    `pg@${versionOf("pg", "packages/postgres")}`,
    "@types/pg@8.23.1",
    `typescript@${versionOf("typescript", ".")}`,
    "@types/node@22",
    "esbuild@0.28.2",
  ];
  await run("npm", ["install", "--no-audit", "--no-fund", "--silent", ...tarballs, ...tools]);
  const server = await start("postgres");
  ({ url } = server);
  stop = () => server.stop();
}, 300_000);

afterAll(async () => {
  await stop();
  rmSync(project, { recursive: true, force: true });
});

describe("a newcomer with npm", () => {
  it(
    "runs the README's example as it stands, in TypeScript's nodenext and bundler modes",
    { timeout: 60_000 },
    async () => {
      write("example.mts", readmeExample());
      const flags = [
        "--strict",
        "--skipLibCheck",
        "false",
        "--target",
        "es2022",
        "--lib",
        "es2023,esnext.disposable",
        "--types",
        "node",
      ];
      await run("npx", ["tsc", "--module", "nodenext", ...flags, "example.mts"]);
      await run("npx", [
        "tsc",
        "--noEmit",
        "--module",
        "esnext",
        "--moduleResolution",
        "bundler",
        ...flags,
        "example.mts",
      ]);
      const { stdout } = await run(process.execPath, ["example.mjs"], { DATABASE_URL: url });
      expect(stdout).toContain("sent");
    },
  );

  it("runs it bundled by esbuild", { timeout: 60_000 }, async () => {
    write("bundle.mts", readmeExample());
    await run("npx", [
      "esbuild",
      "bundle.mts",
      "--bundle",
      "--platform=node",
      "--format=esm",
      "--external:pg",
      "--outfile=bundle.mjs",
    ]);
    const { stdout } = await run(process.execPath, ["bundle.mjs"], { DATABASE_URL: url });
    expect(stdout).toContain("sent");
  });

  it("loads it with require()", { timeout: 30_000 }, async () => {
    write(
      "required.cjs",
      `const { createCoordinator, memoryBackend, isCoordError } = require("@coord/core");
       const { schemaSql } = require("@coord/postgres");
       const coord = createCoordinator({ backend: memoryBackend() });
       coord.withLease("k", () => typeof schemaSql()).then(console.log);`,
    );
    const { stdout } = await run(process.execPath, [
      "--experimental-require-module",
      "--no-warnings",
      "required.cjs",
    ]);
    expect(stdout).toContain("string");
  });

  it("opens a coordinator by COORD_URL alone", { timeout: 30_000 }, async () => {
    write(
      "open.mjs",
      `import { openCoordinator } from "@coord/core";
       const coord = await openCoordinator();
       await coord.setup();
       console.log(await coord.withLease("k", (lease) => typeof lease.fence));
       await coord.close();`,
    );
    const { stdout } = await run(process.execPath, ["open.mjs"], { COORD_URL: url });
    expect(stdout).toContain("bigint");
  });

  it("is told what to install for a store whose adapter is missing", { timeout: 30_000 }, async () => {
    write(
      "missing.mjs",
      `import { openCoordinator } from "@coord/core";
       await openCoordinator("mysql://root:hunter2@127.0.0.1/x").catch((error) => console.log(error.code, error.message));`,
    );
    const { stdout } = await run(process.execPath, ["missing.mjs"]);
    expect(stdout).toContain("COORD_CONFIGURATION");
    expect(stdout).toContain("npm install @coord/mysql");
    expect(stdout).not.toContain("hunter2");
  });

  it.each([
    ["a wrong password", (good: string) => good.replace("//postgres@", "//nobody:hunter2@"), "hunter2"],
    ["nothing that listens", () => "postgres://u:hunter2@127.0.0.1:1/x", "hunter2"],
  ])("gets a clear error for %s, without the secret", { timeout: 60_000 }, async (_, change, secret) => {
    write(
      "error.mjs",
      `import { openCoordinator, isCoordError } from "@coord/core";
       const coord = await openCoordinator({ url: process.env.COORD_URL, defaults: { ttlMs: 1000, waitMs: 0 } });
       await coord.acquire("k").catch((error) => console.log(isCoordError(error), error.code, error.message));
       await coord.close();`,
    );
    const { stdout, stderr } = await run(process.execPath, ["error.mjs"], { COORD_URL: change(url) });
    expect(stdout).toMatch(/^true COORD_(UNAVAILABLE|CONFIGURATION) /);
    expect(stdout + stderr).not.toContain(secret);
  });

  it("is told to set up when the table is missing", { timeout: 30_000 }, async () => {
    write(
      "missing-table.mjs",
      `import { openCoordinator } from "@coord/core";
       import { postgresBackend } from "@coord/postgres";
       const backends = { postgres: (url) => postgresBackend({ url, schema: "elsewhere" }) };
       const coord = await openCoordinator(undefined, { backends });
       await coord.acquire("k").catch((error) => console.log(error.code, error.message));
       await coord.close();`,
    );
    const { stdout } = await run(process.execPath, ["missing-table.mjs"], { COORD_URL: url });
    expect(stdout).toMatch(/^COORD_NOT_SET_UP .*setup\(\)/);
  });
});

it("ships dist and src, and nothing of tests", () => {
  expect(
    readdirSync(packs)
      .map((name) => name.replace(/-\d.*$/, ""))
      .toSorted(),
  ).toEqual(["coord-core", "coord-postgres"]);
  expect(dirname(packs)).toBe(root);
});
