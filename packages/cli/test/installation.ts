import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { build } from "esbuild";

/**
 * The command as it lies on a user's machine: packages with plain JavaScript in a node_modules, started by
 * node alone. It starts ten times faster than from source, so that tests type it as often as they like. What
 * npm really installs is looked at by packed.test.ts.
 */
export interface Installation {
  readonly folder: string;
  /** The path of the command. */
  readonly bin: string;
  /** Where tests put files of their own. */
  path(name: string): string;
  write(name: string, text: string): string;
  remove(): void;
}

const packages = join(import.meta.dirname, "../..");

async function install(modules: string, name: string, entries: readonly string[]): Promise<void> {
  const source = join(packages, name);
  const target = join(modules, "@coord", name);
  mkdirSync(target, { recursive: true });
  cpSync(join(source, "package.json"), join(target, "package.json"));
  await build({
    entryPoints: entries.map((entry) => join(source, "src", `${entry}.ts`)),
    outdir: join(target, "dist"),
    outbase: join(source, "src"),
    bundle: true,
    splitting: true,
    packages: "external",
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "error",
  });
}

/** Third parties' packages, as the workspace has them. */
function link(modules: string, from: string, names: readonly string[]): void {
  const resolve = createRequire(join(packages, from, "package.json")).resolve;
  for (const name of names) {
    let folder = dirname(resolve(name));
    while (!isPackage(folder, name)) folder = dirname(folder);
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(realpathSync(folder), join(modules, name));
  }
}

function isPackage(folder: string, name: string): boolean {
  try {
    return (
      (JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { name?: string }).name === name
    );
  } catch {
    return false;
  }
}

export async function installation(): Promise<Installation> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "coord-cli-")));
  const modules = join(folder, "node_modules");
  await Promise.all([
    install(modules, "core", ["index"]),
    install(modules, "postgres", ["index"]),
    install(modules, "redis-streams", ["index"]),
    install(modules, "mysql", ["index"]),
    install(modules, "cli", ["index", "main", "guard"]),
  ]);
  link(modules, "cli", ["commander", "@commander-js/extra-typings", "jiti", "pg", "ioredis"]);
  writeFileSync(join(folder, "package.json"), '{ "private": true }');
  const bin = join(modules, "@coord/cli/dist/main.js");
  chmodSync(bin, 0o755);
  const path = (name: string): string => join(folder, name);
  return {
    folder,
    bin,
    path,
    write(name, text) {
      mkdirSync(dirname(path(name)), { recursive: true });
      writeFileSync(path(name), text);
      return path(name);
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export interface Typed {
  readonly child: ChildProcessWithoutNullStreams;
  /** What came out so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves when the process has ended and its output is read. */
  readonly ended: Promise<Result>;
}

export interface Result {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Surroundings {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly input?: string;
  /** @default utf8 */
  readonly encoding?: BufferEncoding;
}

/** The environment that cron gives: a path, a home, and nothing else. No terminal either. */
const bareEnv = (): Record<string, string | undefined> => ({
  PATH: process.env["PATH"],
  HOME: process.env["HOME"],
});

/** Starts any program as a user's shell would. */
export function start(
  command: readonly string[],
  { env = {}, cwd, input, encoding = "utf8" }: Surroundings = {},
): Typed {
  const [file = "", ...args] = command;
  const child = spawn(file, args, { env: { ...bareEnv(), ...env }, ...(cwd !== undefined && { cwd }) });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding(encoding).on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding(encoding).on("data", (text: string) => (stderr += text));
  child.stdin.on("error", () => undefined);
  if (input !== undefined) child.stdin.end(input);
  const ended = new Promise<Result>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  return { child, stdout: () => stdout, stderr: () => stderr, ended };
}

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    // A process that nobody has waited for yet is dead all the same.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};
