/**
 * Stands between `coord` and the command that it runs under a lease: a process of its own, so that a `coord`
 * that is killed, stopped or stuck does not leave the command running after its lease. It starts the command
 * in a process group of its own, ends that group when the lease's deadline comes near without news of a
 * renewal, or when `coord` is gone, and reports how the command ended.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { sharedNowMs } from "./messages.ts";
import type { FromGuard, Start, ToGuard } from "./messages.ts";

const groupPollMs = 20;
/** News of a renewal may be under way; `coord` itself is to be first. */
const newsMs = 100;

let child: ChildProcess | undefined;
let pid: number | undefined;
let killAfterMs = 0;
let deadlineMs = 0;
let timer: NodeJS.Timeout | undefined;
let ended: { readonly code: number | null; readonly signal: NodeJS.Signals | null } | undefined;
let stopping = false;
let done = false;

function tell(message: FromGuard): void {
  // `coord` may be gone in this very moment; the guard's work is the same without it.
  if (process.connected) process.send?.(message, undefined, {}, () => undefined);
}

/** To the whole group. False when there is none any more. */
function signalGroup(signal: NodeJS.Signals | 0): boolean {
  if (pid === undefined) return false;
  try {
    process.kill(-pid, signal);
    return true;
  } catch (error) {
    // EPERM: somebody else's processes are all that is left of the group (sudo); they are there.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function finish(): void {
  if (done || ended === undefined) return;
  done = true;
  clearTimeout(timer);
  tell({ say: "exited", ...ended, leftBehind: signalGroup(0) });
  if (process.connected) process.disconnect();
}

/** SIGTERM now, SIGKILL at the deadline; the group is over when its last process is. */
function stop(): void {
  if (stopping || done || pid === undefined) return;
  stopping = true;
  clearTimeout(timer);
  const killAtMs = Math.min(deadlineMs, sharedNowMs() + killAfterMs);
  signalGroup("SIGTERM");
  // A stopped process gets no SIGTERM before it goes on.
  signalGroup("SIGCONT");
  tell({ say: "stopping" });
  const look = (): void => {
    if (sharedNowMs() >= killAtMs) signalGroup("SIGKILL");
    if (ended !== undefined && (!signalGroup(0) || sharedNowMs() >= killAtMs + newsMs)) return finish();
    timer = setTimeout(look, Math.max(1, Math.min(groupPollMs, killAtMs - sharedNowMs())));
  };
  look();
}

function watchDeadline(): void {
  if (stopping || done) return;
  clearTimeout(timer);
  const restMs = deadlineMs - killAfterMs - sharedNowMs();
  if (restMs <= 0) stop();
  else timer = setTimeout(watchDeadline, Math.min(restMs, 3_600_000));
}

function start(message: Start): void {
  ({ killAfterMs, deadlineMs } = message);
  const [file, ...args] = message.command;
  child = spawn(file, args, { stdio: "inherit", detached: true, env: { ...process.env, ...message.env } });
  ({ pid } = child);
  child.on("error", (error) => {
    if (pid !== undefined) return;
    done = true;
    clearTimeout(timer);
    tell({ say: "failed", code: "code" in error ? String(error.code) : "", message: error.message });
    if (process.connected) process.disconnect();
  });
  if (pid === undefined) return;
  tell({ say: "started", pid });
  child.on("exit", (code, signal) => {
    ended = { code, signal };
    if (!stopping) finish();
  });
  watchDeadline();
}

// `coord` decides what a signal means; one that is sent to all of a service must not end the guard first.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const) {
  process.on(signal, () => undefined);
}
// The other end of an inherited pipe may be gone.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);

process.on("message", (message: ToGuard) => {
  switch (message.do) {
    case "start":
      start(message);
      break;
    case "hold":
      ({ deadlineMs } = message);
      watchDeadline();
      break;
    case "signal":
      if (ended === undefined) signalGroup(message.signal);
      break;
    case "stop":
      stop();
      break;
  }
});
process.on("disconnect", stop);
