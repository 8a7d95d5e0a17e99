import { spawn, spawnSync } from "node:child_process";

export const needsPromtool: boolean = spawnSync("promtool", ["--version"]).error !== undefined;
if (needsPromtool) console.log("skipped what needs promtool: apt-get install prometheus");

/** Runs promtool and resolves to what it complains about. */
export function promtool(args: readonly string[], input = "", cwd?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn("promtool", args, { cwd, stdio: "pipe" });
    let output = "";
    child.stdout.on("data", (data: Buffer) => (output += data.toString()));
    child.stderr.on("data", (data: Buffer) => (output += data.toString()));
    child.on("error", reject);
    child.on("close", (code) => resolve(code === 0 ? "" : output));
    child.stdin.end(input);
  });
}
