import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** Pairs of process and parent, of every live process; a zombie counts as gone. */
function processes(): [pid: number, parentPid: number][] {
  const found: [number, number][] = [];
  if (process.platform !== "linux") {
    const { stdout } = spawnSync("ps", ["-A", "-o", "pid=,ppid=,state="], { encoding: "utf8" });
    for (const line of stdout.split("\n")) {
      const [pid, parent, state] = line.trim().split(/\s+/);
      if (pid && parent && !state?.startsWith("Z")) found.push([Number(pid), Number(parent)]);
    }
    return found;
  }
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      // The name of the program stands in brackets and may contain anything, also brackets.
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state !== "Z" && state !== "X") found.push([Number(name), Number(parent)]);
    } catch {
      // It ended between the listing and the reading.
    }
  }
  return found;
}

/** Empty when there is no such process. */
export function commandLineOf(pid: number): string {
  if (process.platform !== "linux") {
    return spawnSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" }).stdout;
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

/** The process and everything below it, parents first; PostgreSQL's workers leave the process group, hence by parent. */
export function familyOf(pid: number): number[] {
  const all = processes();
  const family = all.some(([id]) => id === pid) ? [pid] : [];
  for (const ancestor of family) {
    for (const [id, parent] of all) if (parent === ancestor) family.push(id);
  }
  return family;
}

/** Sends a signal; a process that is already gone is fine. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

/** Stops the parent before its children, so that it cannot replace them, and looks again until nobody new appeared. */
export function freeze(pid: number): number[] {
  const stopped = new Set<number>();
  for (;;) {
    const fresh = familyOf(pid).filter((id) => !stopped.has(id));
    if (fresh.length === 0) return [...stopped];
    for (const id of fresh) {
      signal(id, "SIGSTOP");
      stopped.add(id);
    }
  }
}

/** Wakes the children before the parent. */
export function thaw(pid: number): void {
  for (const id of familyOf(pid).toReversed()) signal(id, "SIGCONT");
}

/** Kills the whole family and returns those that were in it. */
export function killFamily(pid: number): number[] {
  const family = freeze(pid);
  for (const id of family) signal(id, "SIGKILL");
  return family;
}

/** Resolves to whether all of these processes ended within the time. */
export async function gone(pids: readonly number[], withinMs: number): Promise<boolean> {
  const endMs = performance.now() + withinMs;
  for (;;) {
    const live = new Set(processes().map(([pid]) => pid));
    if (!pids.some((pid) => live.has(pid))) return true;
    if (performance.now() > endMs) return false;
    await sleep(5);
  }
}
