import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LeaseLostError } from "@coord/core";
import type { LostReason } from "@coord/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { supervise } from "../src/supervise.ts";
import type { Held } from "../src/supervise.ts";
import { until } from "./session.ts";

/** The end of a command when its lease is lost long before its deadline: nothing but the news can end it. */

const hourMs = 3_600_000;

describe("a command under a lease of an hour", { concurrent: true, timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "coord-supervise-"));
  const { execArgv } = process;
  beforeAll(() => {
    // The guard is a process of its own, here from source.
    process.execArgv = ["--conditions=source", "--import", "tsx"];
  });
  afterAll(() => {
    process.execArgv = execArgv;
    rmSync(folder, { recursive: true });
  });

  /** Starts a command that is deaf to SIGTERM if asked to be, and loses its lease when it has begun. */
  async function lose(name: string, reason: LostReason, deaf: boolean): ReturnType<typeof supervise> {
    const file = join(folder, name);
    const said = (): string => {
      try {
        return readFileSync(file, "utf8");
      } catch {
        return "";
      }
    };
    const controller = new AbortController();
    const held: Held = { key: "k", fence: 1n, signal: controller.signal, remainingMs: hourMs };
    const trap = deaf ? "trap '' TERM" : "trap 'exit 3' TERM";
    const script = `${trap}; echo began >> ${file}; while :; do sleep 0.05; done`;
    const supervision = {
      env: {},
      ttlMs: hourMs,
      killAfterMs: deaf ? (reason === "deadline" ? hourMs / 2 : 500) : hourMs / 2,
    };
    const ended = supervise(held, { command: ["sh", "-c", script], ...supervision });
    await until(() => said().includes("began"));
    controller.abort(new LeaseLostError(held, reason, "lost"));
    return await ended;
  }

  it("is asked to end at once, and gets its time", async () => {
    expect(await lose("asked", "refused", false)).toMatchObject({ exitCode: 3, stopped: true });
  });

  it("is ended by force when its time is over", async () => {
    expect(await lose("deaf", "refused", true)).toMatchObject({ signal: "SIGKILL", stopped: true });
  });

  it("gets no time when the lease itself is over, as after a machine's sleep", async () => {
    expect(await lose("slept", "deadline", true)).toMatchObject({ signal: "SIGKILL", stopped: true });
  });

  it("is not started under a lease that is lost already", async () => {
    const held = { key: "k", fence: 1n, signal: AbortSignal.abort(), remainingMs: 0 };
    const supervision = { env: {}, ttlMs: hourMs, killAfterMs: 500 };
    const ended = await supervise(held, { command: ["touch", join(folder, "touched")], ...supervision });
    expect(ended).toMatchObject({ exitCode: 70, stopped: true });
    expect(() => readFileSync(join(folder, "touched"))).toThrow("ENOENT");
  });
});
