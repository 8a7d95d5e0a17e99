import { whyMissing } from "@coord/test-fixtures";
import { describe, expect, it } from "vitest";
import { gone, place, until } from "./session.ts";
import type { Session } from "./session.ts";

/** `coord once` and what people do about it, as typed, on PostgreSQL. */

const missing = await whyMissing("postgres");

describe.skipIf(missing !== undefined)(`coord once ${missing ?? ""}`, { timeout: 120_000 }, () => {
  const here = place("postgres");
  const coord: Session["coord"] = (...args) => here.user.coord(...args);
  const json = async (args: readonly string[]): Promise<Record<string, unknown>> =>
    JSON.parse((await coord([...args, "--json"]).ended).stdout) as Record<string, unknown>;

  it("runs the command one time and replays its output and exit code ever after", async () => {
    const ran = here.user.file();
    const once = (key: string, code: number) =>
      coord([
        "once",
        key,
        "--",
        "sh",
        "-c",
        `echo $COORD_ATTEMPT >> ${ran}; printf 'a\\nü'; echo oops >&2; exit ${code}`,
      ]).ended;
    expect(await once("a", 0)).toMatchObject({ code: 0, stdout: "a\nü", stderr: "oops\n" });
    expect(await once("a", 0)).toMatchObject({ code: 0, stdout: "a\nü", stderr: "" });
    expect(await once("b", 4)).toMatchObject({ code: 4, stdout: "a\nü" });
    expect(await once("b", 4)).toMatchObject({ code: 4, stdout: "a\nü" });
    expect(here.user.lines(ran)).toEqual(["1", "1"]);
  });

  it("replays bytes that are no text", async () => {
    const once = () =>
      coord(["once", "bytes", "--", "printf", "\\377\\000\\001"], { encoding: "latin1" }).ended;
    expect((await once()).stdout).toBe("\u00FF\u0000\u0001");
    expect((await once()).stdout).toBe("\u00FF\u0000\u0001");
  });

  it("of five at once runs one, and gives all its answer", async () => {
    const ran = here.user.file();
    const script = `echo ran >> ${ran}; sleep 0.3; echo answer`;
    const five = Array.from(
      { length: 5 },
      () => coord(["once", "five", "--wait", "25s", "--", "sh", "-c", script]).ended,
    );
    for (const result of await Promise.all(five))
      expect(result).toMatchObject({ code: 0, stdout: "answer\n" });
    expect(here.user.lines(ran)).toEqual(["ran"]);
  });

  it("refuses the key with another command, unless both name the same --input", async () => {
    expect(await coord(["once", "input", "--", "echo", "1"]).ended).toMatchObject({ code: 0 });
    expect(await coord(["once", "input", "--", "echo", "2"]).ended).toMatchObject({ code: 65, stdout: "" });
    expect(await coord(["once", "named", "--input", "42", "--", "echo", "1"]).ended).toMatchObject({
      code: 0,
    });
    expect(await coord(["once", "named", "--input", "42", "--", "echo", "2"]).ended).toMatchObject({
      stdout: "1\n",
    });
  });

  it("keeps output up to its limit and never passes a part off as all of it", async () => {
    const once = (...options: string[]) =>
      coord(["once", "big", ...options, "--", "sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x"]).ended;
    const first = await once();
    expect([first.code, first.stdout.length]).toEqual([0, 200_000]);
    expect(await once()).toMatchObject({ code: 65, stdout: "" });
    expect((await once()).stderr).toContain("200000 bytes");
    expect(await once("--no-output")).toMatchObject({ code: 0, stdout: "" });
    const most = () => coord(["once", "most", "--", "sh", "-c", "head -c 131072 /dev/zero"]).ended;
    expect((await most()).stdout.length).toBe(131_072);
    expect((await most()).stdout).toBe("\0".repeat(131_072));
  });

  it.concurrent("keeps its claim while the reader of its output stands still, and passes all of it on", async () => {
    const command = "head -c 200000 /dev/zero; echo done";
    const line = `"$COORD" once slow --ttl 6s --kill-after 100ms -- sh -c '${command}' | (sleep 8; wc -c)`;
    expect(await here.user.shell(line).ended).toMatchObject({ code: 0, stdout: "200005\n", stderr: "" });
    // A reader that goes away does not end the command either.
    const ran = here.user.file();
    await here.user.shell(`"$COORD" once deaf -- sh -c 'echo a; sleep 0.5; echo ran > ${ran}' | true`).ended;
    const again = await coord(["once", "deaf", "--", "sh", "-c", `echo a; sleep 0.5; echo ran > ${ran}`])
      .ended;
    expect([again.code, again.stdout, here.user.lines(ran)]).toEqual([0, "a\n", ["ran"]]);
  });

  it.concurrent("does not wait for a process that the command left with its output", async () => {
    const beganMs = performance.now();
    const once = () =>
      coord(["once", "left", "--", "sh", "-c", "echo a; sleep 45 2> /dev/null & exit 0"]).ended;
    // This test's own end of the pipe is held open too, hence the file.
    const out = here.user.file();
    await here.user.shell(`"$COORD" once left -- sh -c 'echo a; sleep 45 2> /dev/null & exit 0' > ${out}`)
      .ended;
    expect(here.user.lines(out)).toEqual(["a"]);
    expect((await once()).stdout).toBe("a\n");
    expect(performance.now() - beganMs).toBeLessThan(40_000);
  });

  it.concurrent("is uncertain when coord is killed with -9, ends the command, and a person decides", async () => {
    const ran = here.user.file();
    const command = ["--ttl", "5s", "--", "sh", "-c", `echo $$ >> ${ran}; exec sleep 60`];
    const killed = coord(["once", "charge", ...command]);
    const pid = Number(await here.user.firstLine(ran));
    expect(await coord(["once", "charge", ...command]).ended).toMatchObject({ code: 75 });
    killed.child.kill("SIGKILL");
    await gone(pid);
    const uncertain = async (): Promise<string> =>
      (await coord(["executions", "ls", "--status", "uncertain"]).ended).stdout;
    await until(async () => (await uncertain()).includes("charge"));
    const { code, stderr } = await coord(["once", "charge", ...command]).ended;
    expect(code).toBe(76);
    const { fence } = await json(["executions", "show", "charge"]);
    expect(stderr).toContain(`coord executions resolve charge --fence ${String(fence)}`);

    const resolve = (...options: string[]) =>
      coord(["executions", "resolve", "charge", "--fence", String(fence), ...options]).ended;
    expect(await resolve("--as", "not-done")).toMatchObject({ code: 64 });
    expect(await resolve("--as", "completed", "--yes")).toMatchObject({ code: 64 });
    const response = '{"exitCode":7,"stdout":"by hand\\n"}';
    const done = await resolve(
      "--as",
      "completed",
      "--response",
      response,
      "--note",
      "seen in the ledger",
      "--yes",
    );
    expect(done.code).toBe(0);
    expect(await coord(["once", "charge", ...command]).ended).toMatchObject({
      code: 7,
      stdout: "by hand\n",
    });
    const shown = await coord(["executions", "show", "charge"]).ended;
    expect(shown.stdout).toContain("seen in the ledger");
    expect(shown.stdout).toMatch(/completed by \S+@\S+/);
    // Somebody else with the same fence comes too late.
    expect((await resolve("--as", "failed", "--yes")).code).toBe(75);
    expect(here.user.lines(ran)).toHaveLength(1);
  });

  it("is uncertain when a signal ends the command; --on-failure says what an exit code means", async () => {
    const once = (key: string, script: string, ...options: string[]) =>
      coord(["once", key, ...options, "--", "sh", "-c", script]).ended;
    expect((await once("signal", "kill -9 $$")).code).toBe(137);
    expect((await once("signal", "kill -9 $$")).code).toBe(76);
    const flag = here.user.file();
    const again = `test -e ${flag} && exit 0; touch ${flag}; exit 9`;
    expect((await once("retry", again, "--on-failure", "retryable")).code).toBe(9);
    expect((await once("retry", again, "--on-failure", "retryable")).code).toBe(0);
    expect((await once("unsure", "exit 9", "--on-failure", "uncertain")).code).toBe(9);
    expect((await once("unsure", "exit 9", "--on-failure", "uncertain")).code).toBe(76);
    // What was not started at all was not done.
    const none = () => coord(["once", "none", "--", "no-such-command"]).ended;
    expect((await none()).code).toBe(127);
    expect((await none()).code).toBe(127);
  });

  it("carries executions over to another namespace by export and import", async () => {
    const from = ["--namespace", "old"];
    const to = ["--namespace", "new"];
    for (const key of ["x", "y"])
      expect(await coord(["once", key, ...from, "--", "echo", key]).ended).toMatchObject({ code: 0 });
    const exported = await coord(["executions", "export", ...from]).ended;
    expect(exported.stdout.trim().split("\n")).toHaveLength(2);
    const out = here.at.path("out.jsonl");
    expect(await coord(["executions", "export", ...from, "--out", out]).ended).toMatchObject({
      code: 0,
      stdout: "",
    });
    expect(here.user.lines(out)).toHaveLength(2);
    const nowhere = await coord(["executions", "export", ...from, "--out", "/nowhere/out"]).ended;
    expect([nowhere.code, nowhere.stderr]).toEqual([1, expect.stringMatching(/^coord: ENOENT.*\n$/)]);
    const first = await coord(["executions", "import", "-", ...to, "--json"], { input: exported.stdout })
      .ended;
    expect(JSON.parse(first.stdout)).toEqual({ imported: 2, skipped: [] });
    const second = await coord(["executions", "import", out, ...to, "--json"]).ended;
    expect(JSON.parse(second.stdout)).toEqual({ imported: 0, skipped: ["x", "y"] });
    expect(await coord(["once", "x", ...to, "--", "echo", "x"]).ended).toMatchObject({ stdout: "x\n" });
    expect((await json(["executions", "show", "x", ...to]))["attempt"]).toBe(1);
  });
});
