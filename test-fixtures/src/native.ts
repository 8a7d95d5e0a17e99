import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeDataFolder } from "./data-folder.ts";
import { tiedToParent } from "./privileges.ts";
import { freePort, poll } from "./probe.ts";
import { familyOf, freeze, gone, killFamily, signal, thaw } from "./process-tree.ts";
import type { Faults } from "./server.ts";

const startLimitMs = 60_000;

/** How to run one server of this machine. */
export interface Program {
  readonly name: string;
  /** Fills the fresh data folder; called once. */
  prepare?(folder: string, runAs: readonly string[]): Promise<void> | void;
  /** Words before the command that change its user; called once, before `prepare`. */
  runAs?(folder: string): readonly string[];
  /** The command; called at every start with the same folder and port. */
  command(folder: string, port: number): readonly string[];
  /** The server's version once it serves requests, undefined before. */
  probe(port: number): Promise<string | undefined>;
  /** Asks for a quick end that leaves nothing behind in the system; the default is `SIGKILL`. */
  readonly stopSignal?: NodeJS.Signals;
  readonly environment?: Readonly<Record<string, string>>;
}

/** A program that runs, with a folder and a port of its own. */
export interface RunningProgram {
  readonly port: number;
  readonly version: string;
  readonly folder: string;
  readonly faults: Faults;
  readonly stop: () => Promise<void>;
}

const toEndWithUs = new Set<() => void>();
process.on("exit", () => {
  for (const end of toEndWithUs) end();
});

/** Starts the program and resolves when it serves requests. */
export async function startProgram(program: Program): Promise<RunningProgram> {
  const folder = makeDataFolder(program.name);
  const logFile = join(folder, "log");
  let port = await freePort();
  let child: ChildProcess | undefined;
  let runAs: readonly string[] = [];

  /** Undefined once the program has ended by itself: its number may belong to a stranger by then. */
  const livePid = (): number | undefined =>
    child === undefined || child.exitCode !== null || child.signalCode !== null ? undefined : child.pid;

  const launch = async (): Promise<string> => {
    // The kernel forgets the tie when a process changes its user, so it comes after such a change.
    const [command = "", ...args] = [...runAs, ...tiedToParent(), ...program.command(folder, port)];
    const log = openSync(logFile, "a");
    const started = spawn(command, args, {
      cwd: folder,
      stdio: ["ignore", log, log],
      env: { ...process.env, ...program.environment },
    });
    closeSync(log);
    child = started;
    started.on("error", () => {}); // Told below, by a process that has no pid.
    if (started.pid !== undefined) writeFileSync(join(folder, "server.pid"), String(started.pid));
    started.unref();
    const endMs = performance.now() + startLimitMs;
    const version = await poll(
      () => program.probe(port),
      () => livePid() === undefined || performance.now() > endMs,
    );
    if (version !== undefined && livePid() !== undefined) return version;
    await kill();
    const tail = readFileSync(logFile, "utf8").slice(-2000);
    throw new Error(`${program.name} did not start on 127.0.0.1:${port}; its last words were:\n${tail}`);
  };

  const kill = async (): Promise<void> => {
    const pid = livePid();
    if (pid === undefined) return;
    const family = killFamily(pid);
    if (!(await gone(family, 10_000)))
      throw new Error(`${program.name} survived kill -9: pids ${family.join(", ")}`);
    // A zombie answers to its number until it is fetched: PostgreSQL would not start beside it.
    while (livePid() !== undefined) await sleep(1);
  };

  const faults: Faults = {
    pause: async () => {
      const pid = livePid();
      if (pid !== undefined) freeze(pid);
    },
    resume: async () => {
      const pid = livePid();
      if (pid !== undefined) thaw(pid);
    },
    kill,
    restart: async () => {
      await kill();
      await launch();
    },
  };

  const stop = async (): Promise<void> => {
    const pid = livePid();
    if (pid !== undefined && program.stopSignal !== undefined) {
      const family = familyOf(pid);
      thaw(pid);
      signal(pid, program.stopSignal);
      await gone(family, 3000);
    }
    await kill();
    toEndWithUs.delete(end);
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  };

  const end = (): void => {
    const pid = livePid();
    if (pid !== undefined) killFamily(pid);
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  };
  toEndWithUs.add(end);

  try {
    runAs = program.runAs?.(folder) ?? [];
    await program.prepare?.(folder, runAs);
    const version = await launch().catch(async (error: unknown) => {
      // Another process may have taken the port since it was looked at.
      if (!/address already in use/i.test(String(error))) throw error;
      port = await freePort();
      return launch();
    });
    return { port, version, folder, faults, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
