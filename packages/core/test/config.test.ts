import { afterEach, describe, expect, it } from "vitest";
import type { Backend } from "../src/backend.ts";
import { openCoordinator } from "../src/config.ts";
import { memoryBackend } from "../src/memory.ts";

const secret = "hunter2";

describe("openCoordinator", () => {
  const warnings: Error[] = [];
  const collect = (warning: Error): void => void warnings.push(warning);
  process.on("warning", collect);
  afterEach(() => void warnings.splice(0));

  it("takes memory: from a text, an object and the environment", async () => {
    const texts = [
      await openCoordinator("memory:"),
      await openCoordinator({ url: "memory:", namespace: "a" }),
      await openCoordinator(undefined, { env: { COORD_URL: "memory:", COORD_NAMESPACE: "b" } }),
    ];
    expect(texts.map(({ namespace }) => namespace)).toEqual(["default", "a", "b"]);
    expect(await texts[0]?.withLease("k", () => 1)).toBe(1);
    await Promise.all(texts.map((coord) => coord.close()));
  });

  it.each([[{}], [{ COORD_URL: "" }]])(
    "never falls back to memory when nothing is configured",
    async (env) => {
      const opening = openCoordinator(undefined, { env });
      await expect(opening).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
      await expect(opening).rejects.toThrow(
        /COORD_URL is not set\. Set COORD_URL, for instance to postgres:/,
      );
    },
  );

  it("warns about memory: in production", async () => {
    await openCoordinator(undefined, { env: { COORD_URL: "memory:", NODE_ENV: "production" } });
    await new Promise((resolve) => void setImmediate(resolve));
    expect(warnings.map(({ message }) => message)).toEqual([
      expect.stringContaining("excludes nobody outside this process"),
    ]);
  });

  it("uses a registered maker, so that a pool of one's own survives a swap", async () => {
    let seen = "";
    const backends = {
      postgres: (url: string): Backend => {
        seen = url;
        return memoryBackend();
      },
    };
    await openCoordinator("postgres://u@h/db", { backends });
    expect(seen).toBe("postgres://u@h/db");
  });

  it.each([
    [`oracle://u:${secret}@h`, /No backend is known for the scheme "oracle:".*Register others/],
    [`u:${secret}@h/db`, /No backend is known for the scheme "u:"/],
    [`//u:${secret}@h/db`, /The url has no scheme/],
  ])("refuses a url that it can't use, without showing it: %s", async (url, message) => {
    const opening = openCoordinator(url);
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.not.toThrow(secret);
  });

  it("checks times against the store's minimum when it opens, and closes what it opened", async () => {
    let closed = 0;
    const backend = {
      ...memoryBackend(),
      info: { name: "slow", minTtlMs: 60_000 },
      close: async () => void (closed += 1),
    };
    const opening = openCoordinator("slow:", { backends: { slow: () => backend } });
    await expect(opening).rejects.toThrow(
      /defaults\.ttlMs must be at least 60000 with the slow backend, got 30000/,
    );
    expect(closed).toBe(1);
  });

  it("refuses settings that it does not know", async () => {
    await expect(openCoordinator({ url: "memory:", ttlMs: 5 } as never)).rejects.toThrow(
      /config may have url/,
    );
  });
});
