import { whyMissing } from "@coord/test-fixtures";
import { createCoordinator } from "@coord/core";
import type { Coordinator } from "@coord/core";
import { postgresBackend } from "@coord/postgres";
import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Typed } from "./installation.ts";
import { place, until } from "./session.ts";

// oxlint-disable no-control-regex -- terminals are steered by control characters

/** What only happens on a terminal, on a real one: a pseudo-terminal by `script` of util-linux. */

const hasScript = spawnSync("script", ["--version"]).stdout?.toString().includes("util-linux") ?? false;
const missing = hasScript ? await whyMissing("postgres") : "needs script of util-linux";

describe.skipIf(missing !== undefined)(`on a terminal ${missing ?? ""}`, { timeout: 120_000 }, () => {
  const here = place("postgres");
  let program: Coordinator;
  /** Types a line into a terminal of 100 columns and 12 rows. */
  const terminal = (line: string, env: Record<string, string> = {}): Typed =>
    here.user.shell(`exec script -qfec 'stty cols 100 rows 12; trap : INT; ${line}' /dev/null`, {
      env: { TERM: "xterm", ...env },
    });

  beforeAll(async () => {
    program = createCoordinator({ backend: postgresBackend({ url: here.server.url }), holder: "billing-7" });
  }, 120_000);
  afterAll(async () => {
    await program?.close({ graceMs: 0 });
  });

  it("watch shows a live table, follows what happens, and leaves the terminal as it was", async () => {
    const first = await program.acquire("seen:1");
    const typed = terminal("$COORD watch --prefix seen: --interval 200ms");
    await until(() => /\u001B\[\?1049h[\s\S]*seen:1 +billing-7/.test(typed.stdout()));
    const second = await program.acquire("seen:2");
    await until(() => typed.stdout().includes("seen:2"));
    await first.release();
    const frame = (): string => typed.stdout().split("\u001B[H").at(-1) ?? "";
    await until(() => frame().includes("seen:2") && !frame().includes("seen:1"));
    typed.child.stdin.write("q");
    const { code, stdout } = await typed.ended;
    expect(code).toBe(0);
    expect(stdout).toMatch(/\u001B\[\?25h\u001B\[\?1049l\s*$/);
    // No line is wider than the terminal.
    for (const line of frame().split("\r\n"))
      expect(line.replaceAll(/\u001B\[[0-9;?]*[A-Za-z]/g, "").length).toBeLessThanOrEqual(100);
    await second.release();
  });

  it("watch ends by Ctrl-C, and does not fill more rows than there are", async () => {
    const leases = await Promise.all(Array.from({ length: 20 }, (_, i) => program.acquire(`many:${i}`)));
    const typed = terminal("$COORD watch --prefix many:");
    await until(() => typed.stdout().includes("and 13 more"));
    typed.child.stdin.write("\u0003");
    expect((await typed.ended).stdout).toContain("\u001B[?1049l");
    await Promise.all(leases.map((lease) => lease.release()));
  });

  it("watch without a terminal writes a line for each change", async () => {
    const typed = here.user.coord(["watch", "--prefix", "line:", "--interval", "200ms", "--json"]);
    const lease = await program.acquire("line:1");
    await until(() => typed.stdout().includes('"change":"held","key":"line:1"'));
    await lease.release();
    await until(() => typed.stdout().includes('"change":"ended","key":"line:1"'));
    typed.child.kill("SIGTERM");
    expect(await typed.ended).toMatchObject({ code: 0, stderr: "" });
    expect(typed.stdout()).not.toMatch(/\u001B\[[\d;]*m/);
  });

  it("break asks, and does nothing after anything but a yes", async () => {
    const lease = await program.acquire("asked", { ttlMs: 60_000 });
    const answer = async (text: string): Promise<string> => {
      const typed = terminal("$COORD break asked --now; echo code $?");
      await until(() => typed.stdout().includes("[y/N]"));
      typed.child.stdin.write(text);
      return (await typed.ended).stdout;
    };
    expect(await answer("n\n")).toContain("code 64");
    expect(await answer("\n")).toContain("nothing was changed");
    lease.assertHeld();
    expect(await answer("y\n")).toMatch(/Broken by [\s\S]*code 0/);
    await expect(lease.renew()).rejects.toMatchObject({ code: "COORD_LEASE_LOST" });
  });

  it("colours only there, and not with NO_COLOR, --no-color or a dumb terminal", async () => {
    const lease = await program.acquire("colour");
    const color = "\u001B[32mheld";
    const typed = async (line: string, env = {}): Promise<string> => (await terminal(line, env).ended).stdout;
    expect(await typed("$COORD ls --prefix colour")).toContain(color);
    expect(await typed("$COORD ls --prefix colour --no-color")).not.toMatch(/\u001B\[[\d;]*m/);
    expect(await typed("$COORD ls --prefix colour", { NO_COLOR: "1" })).not.toMatch(/\u001B\[[\d;]*m/);
    expect(await typed("$COORD ls --prefix colour", { TERM: "dumb" })).not.toMatch(/\u001B\[[\d;]*m/);
    expect((await here.user.coord(["ls", "--prefix", "colour"]).ended).stdout).not.toMatch(/\u001B\[[\d;]*m/);
    await lease.release();
  });

  it("passes Ctrl-C on to the command of run, whose input is the terminal", async () => {
    const typed = terminal(
      `$COORD run ctrl-c -- sh -c "read line; echo got \\$line; exec sleep 60"; echo code $?`,
    );
    typed.child.stdin.write("hello\n");
    await until(() => typed.stdout().includes("got hello"));
    typed.child.stdin.write("\u0003");
    expect((await typed.ended).stdout).toContain("code 130");
  });
});
