/** What the command and the guard of its child tell each other. Times are this machine's monotonic clock. */

export interface Start {
  readonly do: "start";
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  /** How long before the deadline the command is asked to end. */
  readonly killAfterMs: number;
  readonly deadlineMs: number;
}

export type ToGuard =
  | Start
  /** The lease was renewed: it is good until then. */
  | { readonly do: "hold"; readonly deadlineMs: number }
  | { readonly do: "signal"; readonly signal: NodeJS.Signals }
  /** The lease is lost: end the command now, by force when `killAfterMs` or the deadline has passed. */
  | { readonly do: "stop" };

export type FromGuard =
  | { readonly say: "started"; readonly pid: number }
  /** The command could not be started at all. */
  | { readonly say: "failed"; readonly code: string; readonly message: string }
  /** SIGTERM was sent, as the deadline is near or the lease was lost. */
  | { readonly say: "stopping" }
  | {
      readonly say: "exited";
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
      /** Whether the command left processes of its own group running. */
      readonly leftBehind: boolean;
    };

/** The one clock that all processes of a machine share and that nobody sets. */
export const sharedNowMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;
