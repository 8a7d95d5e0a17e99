/** Several processes that call `once` with one key, some of which are killed or stopped on the way. */
import { type ChildProcess, fork } from "node:child_process";
import { bundled } from "./once-bundle.ts";

export interface Receipt {
  readonly key: string;
  /** Process and fence of the run that wrote the effect. */
  readonly nonce: string;
}

export type Answer =
  | { readonly status: "completed"; readonly receipt: Receipt; readonly replayed: boolean }
  | { readonly status: "running" | "uncertain" }
  | { readonly status: "threw"; readonly what: string };

/** Where a function stands: before its effect, or after it. */
export interface Ask {
  readonly at: "before" | "after";
  readonly key: string;
}
export interface Call {
  readonly key: string;
  readonly callers: number;
  readonly waitMs: number;
  readonly ttlMs: number;
}
export type Tell = ({ readonly do: "call"; readonly id: number } & Call) | ({ readonly do: "pass" } & Ask);
export type FromChild =
  | { readonly ready: true }
  | { readonly ask: Ask }
  | { readonly id: number; readonly answers: readonly Answer[] };

/** One of the processes. */
export interface Caller {
  readonly pid: number;
  /** False once it was killed. */
  alive: boolean;
  /** Calls `once` with the key, `callers` times at once; nothing if it is killed before all are answered. */
  call(what: Call): Promise<readonly Answer[]>;
  pass(ask: Ask): void;
  kill(): Promise<void>;
  /** SIGSTOP: not one instruction more, until `go`. */
  stop(): void;
  go(): void;
}

export interface Crowd {
  readonly callers: readonly Caller[];
  /** Asked by each function at each step; it runs on only when its process is told to pass. */
  onAsk: (caller: Caller, ask: Ask) => void;
  /** Replaces those who were killed. */
  fill(): Promise<void>;
  close(): Promise<void>;
}

export interface CrowdOptions {
  readonly storeUrl: string;
  readonly effectsUrl: string;
  readonly namespace: string;
  readonly size: number;
  /** @default none */
  readonly mutant?: string;
}

export const passAll = (caller: Caller, ask: Ask): void => caller.pass(ask);

let program: Promise<string> | undefined;

export async function startCrowd(options: CrowdOptions): Promise<Crowd> {
  const { storeUrl, effectsUrl, namespace, size, mutant = "" } = options;
  let callers: Caller[] = [];
  let ids = 0;
  const path = await (program ??= bundled("once-caller-child.ts"));

  async function startOne(): Promise<Caller> {
    const child: ChildProcess = fork(path, [storeUrl, effectsUrl, namespace, mutant], { execArgv: [] });
    const waiting = new Map<number, (answers: readonly Answer[]) => void>();
    const exited = new Promise<void>((resolve) => {
      child.once("exit", () => {
        caller.alive = false;
        for (const resolveCall of waiting.values()) resolveCall([]);
        resolve();
      });
    });
    child.on("error", () => {}); // a message to one that was killed
    const tell = (message: Tell): void => {
      if (child.connected) child.send(message);
    };
    const caller: Caller = {
      pid: child.pid ?? 0,
      alive: true,
      call: (what) => {
        if (!caller.alive) return Promise.resolve([]);
        const id = ++ids;
        return new Promise((resolve) => {
          waiting.set(id, resolve);
          tell({ do: "call", id, ...what });
        });
      },
      pass: (ask) => tell({ do: "pass", ...ask }),
      kill: () => {
        child.kill("SIGKILL");
        return exited;
      },
      stop: () => void child.kill("SIGSTOP"),
      go: () => void child.kill("SIGCONT"),
    };
    await new Promise<void>((resolve, reject) => {
      child.once("exit", (code) =>
        reject(new Error(`a caller's process ended with ${code} before it was ready`)),
      );
      child.on("message", (message: FromChild) => {
        if ("ready" in message) resolve();
        else if ("ask" in message) crowd.onAsk(caller, message.ask);
        else {
          waiting.get(message.id)?.(message.answers);
          waiting.delete(message.id);
        }
      });
    });
    return caller;
  }

  const crowd: Crowd = {
    get callers() {
      return callers;
    },
    onAsk: passAll,
    fill: async () => {
      const alive = callers.filter((caller) => caller.alive);
      const fresh = Array.from({ length: size - alive.length }, startOne);
      callers = [...alive, ...(await Promise.all(fresh))];
    },
    close: async () => {
      await Promise.all(callers.map((caller) => caller.kill()));
    },
  };
  await crowd.fill();
  return crowd;
}
