/** One program, unchanged, on every store: COORD_URL alone says which, and what it sees is the same. */
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { start } from "@coord/test-fixtures";
import type { Server } from "@coord/test-fixtures";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const folder = join(import.meta.dirname, "..");
const program = join(import.meta.dirname, "swap-program.ts");
const run = async (
  file: string,
  url: string | undefined,
  { cwd = folder, args = [] as string[] } = {},
): Promise<string> => {
  const flags = ["--conditions=source", "--import", import.meta.resolve("tsx")];
  // NODE_PATH is how pnpm's commands show all packages to all programs.
  const env = { ...process.env, COORD_URL: url, NODE_PATH: undefined };
  return (await promisify(execFile)(process.execPath, [...flags, file, ...args], { cwd, env })).stdout;
};

const clusterUrl = ({ nodes = [] }: Server): string =>
  `redis+cluster://${nodes.map(({ url }) => new URL(url).host).join(",")}`;
const as =
  (scheme: string) =>
  ({ url }: Server): string =>
    url.replace(/^\w+:/, `${scheme}:`);
const stores: Readonly<Record<string, () => Promise<[Server, (server: Server) => string]>>> = {
  postgres: async () => [await start("postgres"), as("postgres")],
  mysql: async () => [await start("mysql"), as("mysql")],
  mariadb: async () => [await start("mysql", { flavor: "mariadb" }), as("mariadb")],
  redis: async () => [await start("redis"), as("redis")],
  "redis+cluster": async () => [await start("redis", { cluster: 3 }), clusterUrl],
  mongodb: async () => [await start("mongodb"), as("mongodb")],
  gs: async () => [await start("gcs"), as("gs")],
};

describe("one program on all stores", () => {
  let onMemory = "";
  beforeAll(async () => {
    onMemory = await run(program, "memory:");
  }, 60_000);

  it("sees on memory: what the contract promises", () => {
    expect(onMemory).toContain('all had their turn, one at a time: ["first","second","third","fourth"], 1\n');
    expect(onMemory).toContain('again: "completed", [{"charged":5,"key":43},true,1]\n');
    expect(onMemory).toContain('the function ran: ["charge:1 1"]\n');
    expect(onMemory).toContain('listed: ["names/%","names/\'; DROP TABLE x; --","names/*"');
    expect(onMemory).toMatch(/closed: "COORD_CLOSED"\n$/);
  });

  it.each(Object.keys(stores))("sees the same on %s:", { timeout: 120_000 }, async (scheme) => {
    const made = await stores[scheme]?.();
    if (made === undefined) throw new Error("no such store");
    const [server, urlOf] = made;
    try {
      const url = urlOf(server);
      expect(url).toContain(`${scheme}:`);
      expect(await run(program, url)).toBe(onMemory);
    } finally {
      await server.stop();
    }
  });
});

describe("a store that is not there", () => {
  /** A port that nothing listens to. */
  let port = 0;
  beforeAll(async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    port = typeof address === "object" && address !== null ? address.port : 0;
    await new Promise((resolve) => server.close(resolve));
  });

  const secret = "hunter2";
  const down: readonly [string, () => string][] = [
    ["postgres", () => `postgres://user:${secret}@127.0.0.1:${port}/app`],
    ["mysql", () => `mysql://user:${secret}@127.0.0.1:${port}/app`],
    ["mariadb", () => `mariadb://user:${secret}@127.0.0.1:${port}/app`],
    ["redis", () => `redis://user:${secret}@127.0.0.1:${port}`],
    ["redis+cluster", () => `redis+cluster://user:${secret}@127.0.0.1:${port}`],
    [
      "mongodb",
      () => `mongodb://user:${secret}@127.0.0.1:${port}/app?serverSelectionTimeoutMS=500&authSource=admin`,
    ],
  ];
  it.concurrent.each(down)(
    "%s: is unavailable, with no secret in what is said",
    { timeout: 60_000 },
    async (_, url) => {
      const said = await run(join(import.meta.dirname, "try-program.ts"), url(), { args: ["1000"] });
      expect(said).toMatch(/^COORD_UNAVAILABLE .+\n$/s);
      expect(said).not.toContain(secret);
    },
  );
});

describe("a store whose adapter is not installed", () => {
  // A project with core and nothing else.
  const elsewhere = mkdtempSync(join(tmpdir(), "coord-elsewhere-"));
  afterAll(() => rmSync(elsewhere, { recursive: true }));

  it("is named together with the package to install, for each scheme", { timeout: 60_000 }, async () => {
    const core = join(elsewhere, "node_modules/@coord/core");
    for (const part of ["package.json", "src"]) {
      cpSync(join(folder, "../packages/core", part), join(core, part), { recursive: true });
    }
    const packages = {
      "postgres://u:hunter2@h/d": "@coord/postgres",
      "postgresql://u:hunter2@h/d": "@coord/postgres",
      "mysql://u:hunter2@h/d": "@coord/mysql",
      "mariadb://u:hunter2@h/d": "@coord/mysql",
      "redis://u:hunter2@h": "@coord/redis-streams",
      "rediss://u:hunter2@h": "@coord/redis-streams",
      "redis+cluster://u:hunter2@h": "@coord/redis-streams",
      "rediss+cluster://u:hunter2@h": "@coord/redis-streams",
      "mongodb://u:hunter2@h/d": "@coord/mongodb",
      "mongodb+srv://u:hunter2@h/d": "@coord/mongodb",
      "gs://bucket": "@coord/gcs",
    };
    const file = join(elsewhere, "missing.mjs");
    writeFileSync(
      file,
      `import { openCoordinator } from "@coord/core";
       for (const url of ${JSON.stringify(Object.keys(packages))})
         await openCoordinator(url).catch((error) => console.log(error.code, error.message));`,
    );
    const said = (await run(file, undefined, { cwd: elsewhere })).trim().split("\n");
    expect(said).toEqual(
      Object.values(packages).map((name) =>
        expect.stringMatching(new RegExp(`^COORD_CONFIGURATION .*npm install ${name}\\b`)),
      ),
    );
    expect(said.join()).not.toContain("hunter2");
  });
});
