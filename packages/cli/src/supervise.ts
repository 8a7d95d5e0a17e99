import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import type { Readable } from "node:stream";
import { constants } from "node:os";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { isCoordError } from "@coord/core";
import { exitCodes } from "./exit.ts";
import { sharedNowMs } from "./messages.ts";
import type { FromGuard, ToGuard } from "./messages.ts";

/** What a lease and the claim of an execution have in common. */
export interface Held {
  readonly key: string;
  readonly fence: bigint;
  readonly signal: AbortSignal;
  readonly remainingMs: number;
}

export interface Ended {
  /** The command's own, or 128 + n for a signal, or what a shell says of a command that can't be started. */
  readonly exitCode: number;
  readonly signal: NodeJS.Signals | null;
  /** Why it did not run at all. */
  readonly failed?: string | undefined;
  /** It was made to end, as the lease was lost or about to be. */
  readonly stopped: boolean;
  /** Processes of the command that it left running. */
  readonly leftBehind: boolean;
}

export interface Supervision {
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  readonly ttlMs: number;
  readonly killAfterMs: number;
  /** Gets the command's standard output, which else is this process's own, as fast as it takes it. */
  readonly onOutput?: ((chunk: Buffer) => Promise<void>) | undefined;
}

/** Passed on to the command; all but these keep their meaning for `coord` itself. */
const forwarded = [
  "SIGINT",
  "SIGTERM",
  "SIGHUP",
  "SIGQUIT",
  "SIGUSR1",
  "SIGUSR2",
  "SIGWINCH",
  "SIGCONT",
] as const;
const backstopMs = 500;
/** What a command wrote is read long before; longer than that only a process that it left holds its output open. */
const outputIdleMs = 1000;

export const exitCodeOfSignal = (signal: NodeJS.Signals): number =>
  exitCodes.signal + constants.signals[signal];

function startGuard(captured: boolean): ChildProcess {
  const here = fileURLToPath(import.meta.url);
  return fork(fileURLToPath(new URL(`./guard${extname(here)}`, import.meta.url)), [], {
    detached: true,
    stdio: ["inherit", captured ? "pipe" : "inherit", "inherit", "ipc"],
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It is over.
  }
}

/** Whether the lease's own time is over, and not only its holder's right to it. */
const isOver = (reason: unknown): boolean =>
  isCoordError(reason, "COORD_LEASE_LOST") && "reason" in reason && reason.reason === "deadline";

/** Reads no faster than it is taken, so that a slow reader slows the command down, as in any pipe. */
function readOutput(
  output: Readable | null,
  take: (chunk: Buffer) => Promise<void> = () => Promise.resolve(),
): { readonly ended: () => Promise<void> } {
  let taking = false;
  let quietSinceMs = performance.now();
  const closed = new Promise<void>((resolve) => {
    if (output === null) return resolve();
    output.on("close", () => resolve());
    output.on("error", () => resolve());
    output.on("data", (chunk: Buffer) => {
      taking = true;
      output.pause();
      void take(chunk).finally(() => {
        taking = false;
        quietSinceMs = performance.now();
        output.resume();
      });
    });
  });
  return {
    async ended() {
      quietSinceMs = performance.now();
      const look = setInterval(() => {
        if (!taking && performance.now() - quietSinceMs > outputIdleMs) output?.destroy();
      }, 50);
      await closed;
      clearInterval(look);
    },
  };
}

const nothingLeft = { signal: null, stopped: false, leftBehind: false };

/**
 * Runs a command while `held` is held, through a guard; resolves when it has ended. It is made to end before
 * anybody else can hold the lease: SIGTERM `killAfterMs` before the deadline, SIGKILL at it.
 */
export function supervise(held: Held, supervision: Supervision): Promise<Ended> {
  const { command, env, ttlMs, killAfterMs, onOutput } = supervision;
  return new Promise((resolve) => {
    if (held.signal.aborted) return resolve({ ...nothingLeft, exitCode: exitCodes.lost, stopped: true });
    const guard = startGuard(onOutput !== undefined);
    let pid: number | undefined;
    let stopped = false;
    let over = false;
    let deadlineMs = sharedNowMs() + held.remainingMs;
    let backstop: NodeJS.Timeout | undefined;
    const output = readOutput(guard.stdout, onOutput);
    const tell = (message: ToGuard): void => {
      if (guard.connected) guard.send(message, () => undefined);
    };
    const hold = (): void => {
      if (held.signal.aborted) return;
      deadlineMs = sharedNowMs() + held.remainingMs;
      tell({ do: "hold", deadlineMs });
    };
    const heartbeat = setInterval(hold, Math.min(1000, ttlMs / 12));
    const forwarders = forwarded.map((signal) => {
      const forward = (): void => tell({ do: "signal", signal });
      process.on(signal, forward);
      return [signal, forward] as const;
    });

    const end = (ended: Ended): void => {
      if (over) return;
      over = true;
      clearInterval(heartbeat);
      clearTimeout(backstop);
      for (const [signal, forward] of forwarders) process.off(signal, forward);
      held.signal.removeEventListener("abort", onLost);
      void output.ended().then(() => resolve(ended));
    };
    const onLost = (): void => {
      // A machine that slept: the clock that processes share stood still meanwhile, and that deadline is past.
      if (isOver(held.signal.reason)) tell({ do: "hold", deadlineMs: (deadlineMs = sharedNowMs()) });
      tell({ do: "stop" });
      // The guard does it; were it stopped too, the command still must not outlive the lease.
      const restMs = Math.min(killAfterMs, deadlineMs - sharedNowMs());
      backstop = setTimeout(
        () => {
          if (pid !== undefined) killGroup(pid);
          guard.kill("SIGKILL");
        },
        Math.max(0, restMs) + backstopMs,
      );
    };
    held.signal.addEventListener("abort", onLost, { once: true });

    guard.on("message", (message: FromGuard) => {
      switch (message.say) {
        case "started":
          ({ pid } = message);
          break;
        case "stopping":
          stopped = true;
          break;
        case "failed": {
          const exitCode = message.code === "ENOENT" ? exitCodes.notFound : exitCodes.notExecutable;
          end({ ...nothingLeft, exitCode, failed: message.message });
          break;
        }
        case "exited": {
          const { code, signal, leftBehind } = message;
          const exitCode = signal === null ? (code ?? exitCodes.failed) : exitCodeOfSignal(signal);
          end({ exitCode, signal, stopped, leftBehind });
          break;
        }
      }
    });
    guard.on("error", (error) => {
      end({ ...nothingLeft, exitCode: exitCodes.notExecutable, failed: error.message });
    });
    // After the last message, which may still be under way when the process is gone.
    guard.on("disconnect", () => {
      // Without its guard the command would not be ended with the lease.
      if (!over && pid !== undefined) killGroup(pid);
      end({ exitCode: exitCodes.lost, signal: "SIGKILL", stopped: true, leftBehind: false });
    });
    tell({ do: "start", command, env, killAfterMs, deadlineMs });
  });
}
