import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commandLineOf, killFamily } from "./process-tree.ts";

const root = join(tmpdir(), `coord-fixtures-${process.getuid?.() ?? "user"}`);

/** Whether a process with this number lives, also one of another user. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** Ends what a dead test process left behind: only a process whose command line names the folder is touched. */
function killLeftovers(folder: string): void {
  let pid: number;
  try {
    pid = Number(readFileSync(join(folder, "server.pid"), "utf8"));
  } catch {
    return; // Nothing was started.
  }
  if (commandLineOf(pid).includes(folder)) killFamily(pid);
}

/** Removes the folders of test processes that no longer live. */
function sweepDataFolders(): void {
  for (const name of readdirSync(root)) {
    const owner = /^[a-z]+-(\d+)-/.exec(name)?.[1];
    if (owner === undefined || isAlive(Number(owner))) continue;
    const folder = join(root, name);
    killLeftovers(folder);
    // Two test processes may sweep the same folder at once.
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/**
 * A new folder whose name carries the pid of its owner from the first moment, so that a sweep never takes a folder
 * that is just being made.
 */
export function makeDataFolder(kind: string): string {
  mkdirSync(root, { recursive: true, mode: 0o711 });
  sweepDataFolders();
  const folder = mkdtempSync(join(root, `${kind}-${process.pid}-`));
  chmodSync(folder, 0o711);
  return folder;
}
