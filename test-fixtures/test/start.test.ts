import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createConnection } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { FixtureMissing, start, whyMissing } from "../src/index.ts";

afterEach(() => vi.unstubAllEnvs());

function isListening(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port: Number(new URL(url).port) });
    socket.on("connect", () => resolve(socket.destroy() !== undefined));
    socket.on("error", () => resolve(false));
  });
}

describe("start", () => {
  test("takes the server that the environment names, and does not touch it", async () => {
    vi.stubEnv("COORD_TEST_POSTGRES_URL", "postgres://me:secret@db.example/one");
    const server = await start("postgres");
    expect(server).toMatchObject({ url: "postgres://me:secret@db.example/one", provider: "environment" });
    expect(server.faults).toBeUndefined();
    await server.stop();
  });

  test("has a variable of its own for each variant", async () => {
    vi.stubEnv("COORD_TEST_REDIS_VALKEY_CLUSTER_URL", "redis://valkey.example:6379");
    expect(await start("redis", { flavor: "valkey", cluster: 3 })).toMatchObject({ provider: "environment" });
  });

  test(
    "does not take a server from the environment when settings were asked for",
    { timeout: 60_000 },
    async () => {
      vi.stubEnv("COORD_TEST_POSTGRES_URL", "postgres://db.example/one");
      const server = await start("postgres", { settings: { work_mem: "1MB" } });
      await server.stop();
      expect(server.provider).not.toBe("environment");
    },
  );

  test("refuses a provider it does not know", async () => {
    vi.stubEnv("COORD_FIXTURES", "magic");
    await expect(start("postgres")).rejects.toThrow("COORD_FIXTURES must be native or containers, got magic");
  });

  test("says why there is none, and fails when CI wants one", async () => {
    vi.stubEnv("COORD_FIXTURES", "containers");
    vi.stubEnv("CI", "");
    vi.stubEnv("DOCKER_HOST", "unix:///nowhere/docker.sock");
    const reason = await whyMissing("gcs");
    expect(reason).toMatch(/^no gcs server to test with: .*or set COORD_TEST_GCS_URL to the URL of one$/);
    vi.stubEnv("CI", "true");
    await expect(whyMissing("gcs")).rejects.toBeInstanceOf(FixtureMissing);
  });
});

describe.skipIf(process.platform !== "linux")("a test process that is killed", () => {
  test("takes its servers along, and the next start removes their data", { timeout: 60_000 }, async () => {
    const program = fileURLToPath(new URL("start-and-wait.ts", import.meta.url));
    const child = spawn(process.execPath, ["--import", "tsx", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [chunk] = await once(child.stdout, "data");
    const { url, folder }: { url: string; folder: string } = JSON.parse(String(chunk));
    expect(await isListening(url)).toBe(true);
    expect(existsSync(folder)).toBe(true);
    child.kill("SIGKILL");
    await once(child, "exit");
    await expect.poll(() => isListening(url), { timeout: 10_000 }).toBe(false);
    const next = await start("postgres");
    await next.stop();
    expect(existsSync(folder)).toBe(false);
  });
});
