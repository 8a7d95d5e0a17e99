import { start as startServer } from "@coord/test-fixtures";
import type { Server } from "@coord/test-fixtures";
import { afterAll, beforeAll } from "vitest";
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { installation, isAlive, start } from "./installation.ts";
import type { Installation, Surroundings, Typed } from "./installation.ts";

/** Somebody who types `coord …` in an installation, against one store. */
export interface Session {
  coord(args: readonly string[], surroundings?: Surroundings): Typed;
  /** `coord setup`. */
  setUp(): Promise<void>;
  /** A line for sh, in which $COORD is the command. */
  shell(line: string, surroundings?: Surroundings): Typed;
  /** A path that nothing has used. */
  file(): string;
  lines(path: string): string[];
  /** The first line of a file, once it is there. */
  firstLine(path: string): Promise<string>;
  /** Kills what still runs. */
  end(): void;
}

export function session(at: Installation, url: string): Session {
  const started: Typed[] = [];
  const lines = (path: string): string[] =>
    existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];
  const type = (command: readonly string[], surroundings: Surroundings): Typed => {
    const env = { COORD_URL: url, COORD: at.bin, ...surroundings.env };
    const typed = start(command, { cwd: at.folder, ...surroundings, env });
    started.push(typed);
    return typed;
  };
  return {
    coord: (args, surroundings = {}) => type([process.execPath, at.bin, ...args], surroundings),
    async setUp() {
      for (let times = 1; ; times += 1) {
        const { code, stderr } = await type([process.execPath, at.bin, "setup"], {}).ended;
        if (code === 0) return;
        // A server that has just started, on a busy machine: what is tested comes after it.
        if (code !== 69 || times === 5) throw new Error(stderr);
      }
    },
    shell: (line, surroundings = {}) => type(["sh", "-c", line], surroundings),
    file: () => at.path(`file-${randomUUID()}`),
    lines,
    async firstLine(path) {
      await until(() => lines(path).length > 0);
      return lines(path)[0] ?? "";
    },
    end() {
      for (const { child } of started.splice(0)) child.kill("SIGKILL");
    },
  };
}

interface Place {
  readonly server: Server;
  readonly at: Installation;
  readonly user: Session;
}

/** A server of the suite's own, an installation, and somebody who types there; for as long as its tests run. */
export function place(kind: "postgres" | "redis", isSetUp = true): Place {
  const made: { -readonly [Part in keyof Place]?: Place[Part] } = {};
  beforeAll(async () => {
    const [server, at] = await Promise.all([startServer(kind), installation()]);
    Object.assign(made, { server, at, user: session(at, server.url) });
    if (isSetUp) await made.user?.setUp();
  }, 120_000);
  afterAll(async () => {
    made.user?.end();
    await made.server?.stop();
    made.at?.remove();
  });
  const part = <Part extends keyof Place>(name: Part): Place[Part] => {
    const found: Place[Part] | undefined = made[name];
    if (found === undefined) throw new Error(`There is no ${name} before the tests begin.`);
    return found;
  };
  return {
    get server() {
      return part("server");
    },
    get at() {
      return part("at");
    },
    get user() {
      return part("user");
    },
  };
}

/** Waits for a condition; also from within helpers of tests that run side by side. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`Not so within ${timeoutMs} ms: ${String(condition)}`);
    await sleep(10);
  }
}

export const gone = (pid: number, timeoutMs?: number): Promise<void> => until(() => !isAlive(pid), timeoutMs);
