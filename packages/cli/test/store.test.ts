import { mkdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCoordinator } from "@coord/core";
import { adapters } from "../src/adapters.ts";
import { hasPassword, redact } from "../src/url.ts";
import { installation } from "./installation.ts";
import type { Installation, Surroundings } from "./installation.ts";
import { session } from "./session.ts";

/** Where the store is found, and that nobody sees its password. Nothing listens on port 1. */

describe("the store", { timeout: 120_000 }, () => {
  let at: Installation;
  const doctor = (args: readonly string[], surroundings: Surroundings) =>
    session(at, "").coord(["doctor", ...args], surroundings).ended;
  const port = (number: number): string =>
    `postgres://app:hunter2@127.0.0.1:1/db?application_name=n${number}`;

  beforeAll(async () => {
    at = await installation();
  }, 120_000);
  afterAll(() => at?.remove());

  /** Own adapters stand in, so that no server is needed to see which address was taken. */
  const config = (url: string | undefined): string =>
    `import { defineConfig } from "@coord/cli";
     const found: (url: string) => never = (url) => { throw new Error("found " + url); };
     export default defineConfig({ ${url === undefined ? "" : `url: ${JSON.stringify(url)},`} backends: { test: found } });`;

  it("is what --url says, then COORD_URL, then COORD_URL_FILE, then the config file here or above", async () => {
    at.write("order/coord.config.ts", config("test://config"));
    mkdirSync(at.path("order/below"), { recursive: true });
    const secret = at.write("order/url", "test://file\n");
    const cwd = at.path("order/below");
    const found = async (args: string[], env: Record<string, string>): Promise<string | undefined> =>
      /found (\S+)/.exec((await doctor(args, { cwd, env: { COORD_URL: undefined, ...env } })).stderr)?.[1];
    expect(await found(["--url", "test://flag"], { COORD_URL: "test://env" })).toBe("test://flag");
    expect(await found([], { COORD_URL: "test://env" })).toBe("test://env");
    expect(await found([], { COORD_URL_FILE: secret })).toBe("test://file");
    expect(await found([], {})).toBe("test://config");
    const other = at.write("elsewhere/mine.ts", config("test://other"));
    expect(await found(["--config", other], {})).toBe("test://other");
  });

  it("is said to be missing, with what to do, instead of falling back to anything", async () => {
    const cwd = at.path("empty");
    mkdirSync(cwd, { recursive: true });
    const none = await doctor([], { cwd, env: { COORD_URL: "" } });
    expect(none.code).toBe(78);
    expect(none.stderr).toContain("Set COORD_URL");
    const memory = await doctor([], { cwd, env: { COORD_URL: "memory:" } });
    expect([memory.code, memory.stderr]).toEqual([78, expect.stringContaining("exclude nobody")]);
    const both = await doctor([], { cwd, env: { COORD_URL: port(1), COORD_URL_FILE: "/nowhere" } });
    expect([both.code, both.stderr]).toEqual([78, expect.stringContaining("both set")]);
    const unread = await doctor([], { cwd, env: { COORD_URL: "", COORD_URL_FILE: "/nowhere" } });
    expect([unread.code, unread.stderr]).toEqual([78, expect.stringContaining("ENOENT")]);
  });

  it("says what to install for an adapter that is not there", async () => {
    const { code, stderr } = await doctor([], { env: { COORD_URL: "mongodb://u:hunter2@127.0.0.1:1/x" } });
    expect(code).toBe(78);
    expect(stderr).toContain("npm install @coord/mongodb");
    expect(stderr).not.toContain("hunter2");
  });

  it("has no password on the command line, and shows none", async () => {
    const refused = await doctor(["--url", port(1)], {});
    expect([refused.code, refused.stderr]).toEqual([64, expect.stringContaining("COORD_URL_FILE")]);
    expect(refused.stderr).not.toContain("hunter2");
    const broken = at.write("broken/coord.config.json", `{ "url": "${port(1)}" oops }`);
    for (const surroundings of [
      { env: { COORD_URL: port(1) } },
      { env: { COORD_URL: "redis://:hunter2@127.0.0.1:1/0" } },
      { env: { COORD_URL: "nonsense hunter2" } },
      { env: { COORD_URL: "unknown://u:hunter2@h" } },
      { env: { COORD_URL: "" }, cwd: at.path("broken") },
    ]) {
      for (const json of [[], ["--json"]]) {
        const { code, stdout, stderr } = await doctor(json, surroundings);
        expect(code).not.toBe(0);
        expect(stdout + stderr).not.toContain("hunter2");
      }
    }
    expect(broken).toContain("coord.config.json");
  });

  it("answers errors as JSON where that was asked for", async () => {
    const { stderr } = await doctor(["--json"], { env: { COORD_URL: "memory:" } });
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: "COORD_CONFIGURATION" } });
    const usage = await doctor(["--json", "--nonsense"], {});
    expect([usage.code, JSON.parse(usage.stderr)]).toEqual([
      64,
      { error: { message: expect.stringContaining("--nonsense") as string } },
    ]);
  });
});

it("is known by the schemes that core knows", async () => {
  const error = await openCoordinator("none:").catch((thrown: unknown) => thrown);
  const [, known = ""] = /Known: (.*?)\./.exec(String(error)) ?? [];
  expect(Object.keys(adapters).toSorted()).toEqual(
    known
      .split(", ")
      .filter((scheme) => scheme !== "memory")
      .toSorted(),
  );
});

describe("an address", () => {
  it.each([
    ["postgres://u:p@h/d", true, "postgres://u:***@h/d"],
    ["postgres://u@h/d", false, "postgres://u@h/d"],
    ["postgres://h/d?user=u&password=p", true, "postgres://h/d?user=u&password=***"],
    ["redis://:p@h:6379/0", true, "redis://:***@h:6379/0"],
    ["mongodb://u:p@h1,h2:27017/d?replicaSet=r", true, "mongodb://u:***@h1,h2:27017/d?replicaSet=r"],
    ["mysql://u:p/@w@h/d", true, "mysql://u:***@h/d"],
    ["gs://bucket/prefix", false, "gs://bucket/prefix"],
  ])("%s", (url, secret, shown) => {
    expect([hasPassword(url), redact(url)]).toEqual([secret, shown]);
  });
});
