import { readFileSync, rmSync } from "node:fs";
import { whyMissing } from "@coord/test-fixtures";
import { describe, expect, it } from "vitest";
import { gone, place, until } from "./session.ts";
import type { Session } from "./session.ts";

/** `coord run` as it is typed: what goes in and out, signals, exit codes, and what ends a command. */

const missing = await whyMissing("postgres");

describe.skipIf(missing !== undefined)(
  `coord run ${missing ?? ""}`,
  { concurrent: true, timeout: 120_000 },
  () => {
    const here = place("postgres");
    const coord: Session["coord"] = (...args) => here.user.coord(...args);
    const file = (): string => here.user.file();
    const pidIn = async (path: string): Promise<number> => Number(await here.user.firstLine(path));

    const guardOf = (coordPid: number): number => {
      const [guard = ""] = readFileSync(`/proc/${coordPid}/task/${coordPid}/children`, "utf8").split(" ");
      return Number(guard);
    };

    it("gives the command its key and fence, its input and output, and its exit code", async () => {
      const script = 'read line; echo "$COORD_KEY $COORD_FENCE $line"; echo oops >&2; exit 3';
      const { code, stdout, stderr } = await coord(["run", "k:1", "--", "sh", "-c", script], {
        input: "hello\n",
      }).ended;
      expect(stdout).toMatch(/^k:1 \d{16,} hello\n$/);
      expect(stderr).toBe("oops\n");
      expect(code).toBe(3);
    });

    it("lets one of five run and tells the others with 75 who it is", async () => {
      const held = file();
      const holder = coord([
        "run",
        "one",
        "--holder",
        "host a",
        "--",
        "sh",
        "-c",
        `echo $$ > ${held}; exec sleep 60`,
      ]);
      const pid = await pidIn(held);
      const others = await Promise.all(
        [[], [], ["--quiet"], ["--conflict-exit-code", "0"]].map(
          (options) => coord(["run", "one", ...options, "--", "echo", "ran"]).ended,
        ),
      );
      expect(others.map(({ code }) => code)).toEqual([75, 75, 75, 0]);
      expect(others.map(({ stdout }) => stdout).join("")).toBe("");
      expect(others[0]?.stderr).toMatch(/^coord: "one" is held by host a, for another \d+s /);
      expect(others[2]?.stderr).toBe("");
      process.kill(pid, "SIGTERM");
      expect(await holder.ended).toMatchObject({ code: 143 });
    });

    it("ends the command before the lease when coord stands still", async () => {
      const held = file();
      const holder = coord([
        "run",
        "stop",
        "--ttl",
        "12s",
        "--",
        "sh",
        "-c",
        `echo $$ > ${held}; exec sleep 60`,
      ]);
      const pid = await pidIn(held);
      const next = coord([
        "run",
        "stop",
        "--wait",
        "40s",
        "--",
        "sh",
        "-c",
        `kill -0 ${pid} 2>&1; echo next`,
      ]).ended;
      holder.child.kill("SIGSTOP");
      await gone(pid);
      expect((await next).stdout).toContain("No such process");
      holder.child.kill("SIGCONT");
      expect((await holder.ended).code).toBe(70);
    });

    it("ends the command when its guard is killed", async () => {
      const held = file();
      const holder = coord(["run", "guard", "--", "sh", "-c", `echo $$ > ${held}; exec sleep 60`]);
      const pid = await pidIn(held);
      process.kill(guardOf(holder.child.pid ?? 0), "SIGKILL");
      expect((await holder.ended).code).toBe(70);
      await gone(pid);
    });

    it("passes signals on to the command and its children, waits for them, and keeps the lease meanwhile", async () => {
      const held = file();
      const script = `trap 'sleep 7; echo bye; exit 5' TERM; echo $$ > ${held}; while :; do sleep 0.05; done`;
      const holder = coord([
        "run",
        "signals",
        "--ttl",
        "6s",
        "--kill-after",
        "100ms",
        "--",
        "sh",
        "-c",
        script,
      ]);
      await pidIn(held);
      holder.child.kill("SIGTERM");
      // Longer than a ttl: without renewals it would end with 70.
      expect(await holder.ended).toMatchObject({ code: 5, stdout: "bye\n" });
    });

    it("ends while it waits when it is told to, without running the command", async () => {
      const held = file();
      coord(["run", "waits", "--", "sh", "-c", `echo $$ > ${held}; exec sleep 60`]);
      await pidIn(held);
      const waiting = coord(["run", "waits", "--wait", "forever", "--", "echo", "ran"]);
      const pid = waiting.child.pid ?? 0;
      // It listens to SIGHUP once it has begun to wait; to SIGTERM node itself does from its start.
      const listens = (): boolean => {
        const caught =
          /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "0";
        return (BigInt(`0x${caught}`) & 1n) !== 0n;
      };
      await until(listens);
      waiting.child.kill("SIGTERM");
      expect(await waiting.ended).toMatchObject({ code: 143, stdout: "" });
    });

    it("ends the command when somebody breaks its lease", async () => {
      const held = file();
      const holder = coord([
        "run",
        "broken",
        "--ttl",
        "30s",
        "--",
        "sh",
        "-c",
        `echo $COORD_FENCE > ${held}; exec sleep 60`,
      ]);
      const fence = await here.user.firstLine(held);
      expect(await coord(["break", "broken", "--fence", fence, "--yes"]).ended).toMatchObject({ code: 0 });
      expect((await holder.ended).code).toBe(70);
    });

    it("keeps others out for --at-least, though the command is done", async () => {
      expect((await coord(["run", "least", "--at-least", "90s", "--", "true"]).ended).code).toBe(0);
      expect((await coord(["run", "least", "--", "true"]).ended).code).toBe(75);
      const { remainingMs } = JSON.parse((await coord(["inspect", "least", "--json"]).ended).stdout) as {
        remainingMs: number;
      };
      expect(remainingMs).toBeLessThanOrEqual(90_000);
    });

    it("writes metrics whole, also of runs that did not happen", async () => {
      const path = here.at.path("metrics.prom");
      rmSync(path, { force: true });
      const run = (...args: string[]) => coord(["run", 'm"1', "--metrics-file", path, ...args]).ended;
      await run("--", "true");
      const first = readFileSync(path, "utf8");
      expect(first).toContain('coord_run_outcome{key="m\\"1",outcome="ran"} 1');
      const success = /^coord_run_last_success_timestamp_seconds\{.*\} .*$/m.exec(first)?.[0];
      expect(Number(success?.split(" ").at(-1))).toBeCloseTo(Date.now() / 1000, -2);
      await run("--", "false");
      const second = readFileSync(path, "utf8");
      expect(second).toContain('coord_run_exit_code{key="m\\"1"} 1');
      expect(second).toContain(success);
    });

    it("answers with the command's exit code though the metrics can't be written", async () => {
      const { code, stderr } = await coord([
        "run",
        "m",
        "--metrics-file",
        "/nowhere/m.prom",
        "--",
        "sh",
        "-c",
        "exit 3",
      ]).ended;
      expect([code, stderr]).toEqual([3, expect.stringContaining("ENOENT")]);
    });

    it("says what kept the command from starting", async () => {
      expect(await coord(["run", "k", "--", "no-such-command"]).ended).toMatchObject({ code: 127 });
      const plain = here.at.write("plain.txt", "no program");
      expect(await coord(["run", "k", "--", plain]).ended).toMatchObject({ code: 126 });
    });

    it("warns when the command leaves processes behind", async () => {
      const { code, stderr } = await coord(["run", "left", "--", "sh", "-c", "sleep 2 > /dev/null 2>&1 &"])
        .ended;
      expect(code).toBe(0);
      expect(stderr).toContain("left processes running");
    });
  },
);
