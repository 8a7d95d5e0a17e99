import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { treeOf } from "../src/command-tree.ts";
import { shells } from "../src/completion.ts";
import { durationMs, showDuration } from "../src/duration.ts";
import { metricsText } from "../src/metrics-file.ts";
import { keep, maxOutputBytes, outputOf } from "../src/output.ts";
import { createProgram } from "../src/program.ts";
import { progress, table } from "../src/terminal.ts";

const tree = treeOf(createProgram());

describe("help", () => {
  const leaves = tree.filter(({ verbs }) => verbs.length === 0);
  it("was found", () => expect(leaves.length).toBeGreaterThan(15));
  it.each(leaves.map(({ path }) => path))("coord %s has examples and --json", (path) => {
    const words = path.split(" ");
    const command = words.reduce(
      (at, word) => at.commands.find((each) => each.name() === word) ?? at,
      createProgram() as unknown as Parameters<typeof treeOf>[0],
    );
    let help = "";
    command.configureOutput({ writeOut: (text) => (help += text) });
    command.outputHelp();
    expect(help).toMatch(new RegExp(`Examples:\\n  \\$ .*coord ${path}`));
    expect(help).toContain("--json");
  });
});

describe("completion", { timeout: 60_000 }, () => {
  const completed = (line: string): string[] => {
    const words = line.split(" ");
    const script = `${shells.bash(tree)}
      COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _coord
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = spawnSync("bash", ["--norc"], { input: script, encoding: "utf8" });
    expect(stderr).toBe("");
    return stdout.split("\n").filter(Boolean);
  };
  it("of bash knows verbs, options and choices, at every level", () => {
    expect(completed("coord ex")).toEqual(["executions"]);
    expect(completed("coord executions ")).toEqual(expect.arrayContaining(["ls", "resolve", "import"]));
    expect(completed("coord executions resolve charge --as ")).toEqual(["completed", "not-done", "failed"]);
    expect(completed("coord run k --kill")).toEqual(["--kill-after"]);
    expect(completed("coord schema my")).toEqual(["mysql"]);
  });
  it("of bash leaves what stands after -- to the command", () => {
    expect(completed("coord run k -- --ki")).toEqual([]);
    expect(completed("coord run k -- tru")).toContain("true");
  });
  for (const shell of ["bash", "zsh", "fish"] as const) {
    const there = spawnSync(shell, ["--version"]).status === 0;
    it.skipIf(!there)(
      `of ${shell} is a script that ${shell} takes${there ? "" : `: ${shell} is not installed`}`,
      () => {
        const { status, stderr } = spawnSync(shell, ["-n"], { input: shells[shell](tree), encoding: "utf8" });
        expect([status, stderr]).toEqual([0, ""]);
      },
    );
    it(`of ${shell} names every verb and option`, () => {
      const script = shells[shell](tree);
      for (const { verbs, options } of tree) {
        for (const { name } of verbs) expect(script).toContain(name);
        for (const { long } of options)
          expect(script).toContain(shell === "fish" ? `-l ${long.slice(2)}` : long);
      }
    });
  }
});

describe("durations", () => {
  it.each([
    ["500ms", 500],
    ["60s", 60_000],
    ["1.5m", 90_000],
    ["2h", 7_200_000],
    ["7d", 604_800_000],
  ])("%s", (text, ms) => expect(durationMs(text)).toBe(ms));
  it.each(["60", "s", "-1s", "1 s", "1w", "", "9999999999999d"])("refuses %j", (text) => {
    expect(() => durationMs(text)).toThrow("number with its unit");
  });
  it("are shown at a glance", () => {
    expect([12, 59_400, 61_000, 3_720_000, 90_000_000].map(showDuration)).toEqual([
      "12ms",
      "59s",
      "1m01s",
      "1h02m",
      "1d1h",
    ]);
  });
});

it("metrics have a type and a help each, and escaped labels", () => {
  const run = { key: 'a"b\\c', outcome: "conflict", exitCode: 75, startedAtMs: 1500, waitedMs: 20 } as const;
  const text = metricsText(run, "1.5");
  for (const line of text
    .trim()
    .split("\n")
    .filter((each) => !each.startsWith("#"))) {
    expect(line).toMatch(/^coord_run_[a-z_]+\{key="a\\"b\\\\c"(,outcome="[a-z]+")?\} [\d.]+$/);
    expect(text).toContain(`# TYPE ${line.slice(0, line.indexOf("{"))} gauge\n`);
  }
  expect(text).toContain("coord_run_last_success_timestamp_seconds");
  expect(text).not.toContain("coord_run_duration_seconds");
});

describe("kept output", () => {
  const answer = (output: Buffer, wanted = true) => {
    const keeper = keep(wanted);
    for (let from = 0; from < output.length; from += 1000) keeper.add(output.subarray(from, from + 1000));
    return keeper.answer(3);
  };
  it.each([
    ["text", Buffer.from("ü\n")],
    ["bytes", Buffer.from([255, 0, 1])],
    ["nothing", Buffer.alloc(0)],
    ["as much as there may be", Buffer.alloc(maxOutputBytes, "x")],
  ])("of %s comes back as it was, and fits a record", (_, output) => {
    const kept = answer(output);
    const back = outputOf(JSON.parse(JSON.stringify(kept)));
    expect([back?.exitCode, back?.output?.equals(output)]).toEqual([3, true]);
    expect(JSON.stringify(kept).length).toBeLessThan(262_144);
  });
  it("fits a record whatever the bytes are", () => {
    for (const byte of [0, 34, 92, 127, 200])
      expect(JSON.stringify(answer(Buffer.alloc(maxOutputBytes, byte))).length).toBeLessThan(262_144);
  });
  it("is all or nothing", () => {
    expect(outputOf(answer(Buffer.alloc(maxOutputBytes + 1)))).toMatchObject({
      exitCode: 3,
      notKept: expect.stringContaining("131073 bytes") as string,
    });
    expect(outputOf(answer(Buffer.from("x"), false))).toMatchObject({
      exitCode: 3,
      notKept: "by --no-output",
    });
  });
  it("is not seen in the responses of others", () => {
    for (const response of [null, 7, {}, { exitCode: "0" }, { exitCode: 1000 }])
      expect(outputOf(response)).toBeUndefined();
  });
});

it("a table cuts its last column to the terminal, and only that one", () => {
  expect(table(["A", "HOLDER"], [["long key", "somebody on a host with a long name"]], 24)).toEqual([
    "A         HOLDER",
    "long key  somebody on a…",
  ]);
});

describe("progress", () => {
  it("shows nothing without a terminal", () => {
    let written = "";
    const stream = { isTTY: false, write: (text: string) => (written += text) } as never;
    const bar = progress("x", stream);
    bar.at(1, 2);
    bar.end();
    expect(written).toBe("");
  });
  it("shows a bar for what lasts, and clears it at the end", async () => {
    let written = "";
    const stream = { isTTY: true, write: (text: string) => (written += text) } as never;
    const bar = progress("read", stream);
    await expect
      .poll(() => {
        bar.at(1, 4);
        return written;
      })
      .toMatch(/read █{8}░{22} 25 %$/);
    bar.end();
    expect(written.endsWith("\r\u001B[K")).toBe(true);
  });
});
