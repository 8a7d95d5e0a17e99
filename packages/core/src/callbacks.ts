import type { Host } from "./clock.ts";
import type { ElectionEvent } from "./events.ts";
import { createContexts } from "./with-lease.ts";

/** How often a callback that does not settle is told of. */
export const stuckMs = 60_000;
const context = "callback";

type Name = NonNullable<ElectionEvent["callback"]>;

/** Runs the callbacks of one election: what they throw, and that they don't settle, is told and never thrown on. */
export interface Callbacks {
  /** Whether it went well; `excused` says which errors are no failure. */
  run(callback: () => Promise<void> | void, excused?: (error: unknown) => boolean): Promise<boolean>;
  /** Tells that a callback is stuck, from `firstMs` from now until it has settled. */
  watch(name: Name, settling: Promise<unknown>, firstMs: number): void;
  /** Whether a callback that has not settled is what calls now: to wait for it would be to wait for itself. */
  within(): boolean;
  readonly report: (error: unknown) => void;
}

export function createCallbacks(
  host: Host,
  election: string,
  onError: ((error: unknown) => unknown) | undefined,
  tell: (event: ElectionEvent["event"], more: Partial<ElectionEvent>) => void,
): Callbacks {
  const contexts = createContexts();

  function report(error: unknown): void {
    tell("error", { error });
    void inform(error);
  }

  async function inform(error: unknown): Promise<void> {
    try {
      // Typed as answering nothing, which an async function passes for too.
      await onError?.(error);
    } catch (second) {
      tell("error", { error: second });
    }
  }

  return {
    report,
    within: () => contexts.within(context),
    async run(callback, excused) {
      try {
        await contexts.run(context, async () => callback());
        return true;
      } catch (error) {
        if (excused?.(error)) return true;
        report(error);
        return false;
      }
    },
    watch(name, settling, firstMs) {
      let told = false;
      const stuck = (): void => {
        tell("stuck", { callback: name });
        if (!told) report(new Error(stuckText(election, name)));
        told = true;
        cancel = host.setTimer(stuck, stuckMs, false);
      };
      // Telling is no reason to keep a process up.
      let cancel = host.setTimer(stuck, firstMs, false);
      void settling.then(() => cancel());
    },
  };
}

function stuckText(election: string, name: Name): string {
  const wait =
    name === "onCycle"
      ? "It is not called again before it has settled."
      : "This candidate does not stand before it has settled.";
  return `${name} of the election "${election}" does not settle. ${wait} End what it waits for when term.signal aborts.`;
}
