/** What the main process and its workers say to each other. */
export type ToWorker =
  /** Deposit under the lease; `fenced` = carry the fence with the write. */
  | { readonly do: "deposit"; readonly amount: number; readonly fenced: boolean }
  /** Go on and write: sent to a worker that said `ready`. */
  | { readonly do: "write" }
  | { readonly do: "answer"; readonly id: number; readonly value?: unknown; readonly error?: string };

export type FromWorker =
  | { readonly say: "started" }
  | { readonly say: "acquired"; readonly fence: string; readonly waitedMs: number }
  | { readonly say: "read"; readonly balance: number }
  | { readonly say: "ready" }
  | { readonly say: "wrote"; readonly balance: number }
  | { readonly say: "refused"; readonly error: string; readonly message: string }
  | { readonly say: "lost"; readonly error: string; readonly message: string }
  | { readonly say: "done" }
  /** A step of the account, or of the memory backend, that the main process holds. */
  | { readonly say: "call"; readonly id: number; readonly target: string; readonly args: readonly unknown[] };
