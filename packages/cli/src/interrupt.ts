import { exitCodeOfSignal } from "./supervise.ts";
import { ExitError } from "./exit.ts";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Aborts when this process is told to end; a verb that waits ends then, and with the signal's exit code. */
export function onInterrupt(): { readonly signal: AbortSignal; readonly dispose: () => void } {
  const controller = new AbortController();
  const listeners = signals.map((signal) => {
    const listener = (): void =>
      controller.abort(new ExitError(exitCodeOfSignal(signal), `Ended by ${signal}.`));
    process.on(signal, listener);
    return [signal, listener] as const;
  });
  const dispose = (): void => {
    for (const [signal, listener] of listeners) process.off(signal, listener);
  };
  return { signal: controller.signal, dispose };
}
