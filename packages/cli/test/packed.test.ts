import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { start as startServer, whyMissing } from "@coord/test-fixtures";
import type { Server } from "@coord/test-fixtures";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { start } from "./installation.ts";
import type { Result } from "./installation.ts";

/** The tarballs that are published, installed by npm in a folder elsewhere, and the command that npm links. */

const root = join(import.meta.dirname, "../../..");
const packages = ["core", "postgres", "cli"];
const exec = promisify(execFile);
const pnpm = (...args: string[]) => exec("npx", ["--yes", "pnpm@12.21.0", ...args], { cwd: root });
const missing = await whyMissing("postgres");

const files = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => join(folder, name))
    : [];

/** Whether a build is due; where it is not, nothing is written that other tests may be reading. */
function isStale(name: string): boolean {
  const times = (folder: string, ending: string): number[] =>
    files(join(root, "packages", name, folder))
      .filter((file) => file.endsWith(ending))
      .map((file) => statSync(file).mtimeMs);
  const built = times("dist", ".js");
  return built.length === 0 || Math.max(...times("src", ".ts")) > Math.min(...built);
}

describe.skipIf(missing !== undefined)(`the packed command ${missing ?? ""}`, { timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "coord-packed-"));
  let server: Server;
  const coord = (args: readonly string[], env: Record<string, string> = {}): Promise<Result> =>
    start([join(folder, "node_modules/.bin/coord"), ...args], {
      cwd: folder,
      env: { COORD_URL: server.url, ...env },
    }).ended;

  beforeAll(async () => {
    if (packages.some(isStale))
      await pnpm("exec", "turbo", "run", "build", "--filter=@coord/cli", "--filter=@coord/postgres");
    const filters = packages.flatMap((name) => ["--filter", `@coord/${name}`]);
    await pnpm("-r", ...filters, "pack", "--pack-destination", folder);
    const tarballs = readdirSync(folder).map((name) => join(folder, name));
    const manifest = createRequire(join(root, "packages/postgres/package.json")).resolve("pg/package.json");
    const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
    await exec("npm", ["install", "--no-audit", "--no-fund", "--silent", ...tarballs, `pg@${version}`], {
      cwd: folder,
    });
    server = await startServer("postgres");
  }, 180_000);
  afterAll(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it("prints its version and help, and every verb is there", async () => {
    expect((await coord(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+/);
    expect((await coord(["executions", "resolve", "--help"])).stdout).toContain("--fence");
  });

  it("sets up, runs under a lease through its guard, once, and looks at it", async () => {
    expect(await coord(["setup"])).toMatchObject({ code: 0 });
    expect(await coord(["run", "k", "--", "sh", "-c", "echo $COORD_KEY; exit 3"])).toMatchObject({
      code: 3,
      stdout: "k\n",
    });
    for (let time = 1; time <= 2; time += 1)
      expect(await coord(["once", "k", "--", "echo", "ran"])).toMatchObject({ code: 0, stdout: "ran\n" });
    expect((await coord(["inspect", "k", "--json"])).stdout).toContain('"state":"free"');
    expect(await coord(["doctor"])).toMatchObject({ code: 0 });
    expect((await coord(["schema", "postgres"])).stdout).toContain("CREATE TABLE");
  });

  it("tells its story without a server", async () => {
    const { code, stdout } = await coord(["demo"], { COORD_URL: "" });
    expect([code, stdout]).toEqual([0, expect.stringContaining("130 instead of 180")]);
    expect(stdout).toContain("180: nothing is lost");
  });
});
