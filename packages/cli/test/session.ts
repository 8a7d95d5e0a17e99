import { existsSync, readFileSync } from "node:fs";
import { expect } from "vitest";
import { isAlive, start } from "./installation.ts";
import type { Installation, Surroundings, Typed } from "./installation.ts";

/** Somebody who types `coord …` in an installation, against one store. */
export interface Session {
  coord(args: readonly string[], surroundings?: Surroundings): Typed;
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
  let count = 0;
  const lines = (path: string): string[] =>
    existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];
  return {
    coord(args, surroundings = {}) {
      const env = { COORD_URL: url, ...surroundings.env };
      const typed = start([process.execPath, at.bin, ...args], { cwd: at.folder, ...surroundings, env });
      started.push(typed);
      return typed;
    },
    file: () => at.path(`file-${process.pid}-${(count += 1)}`),
    lines,
    async firstLine(path) {
      await expect.poll(() => lines(path).length, { timeout: 20_000 }).toBeGreaterThan(0);
      return lines(path)[0] ?? "";
    },
    end() {
      for (const { child } of started.splice(0)) child.kill("SIGKILL");
    },
  };
}

export const gone = (pid: number, timeout = 20_000): Promise<void> =>
  expect.poll(() => isAlive(pid), { timeout, interval: 10 }).toBe(false);
