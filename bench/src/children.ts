import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { BenchStore } from "./store.ts";

/** What a child is told to do with one of its contenders. */
export interface Task {
  readonly kind: "relay" | "crowd";
  readonly contender: number;
  readonly key: string;
  readonly lastMs: number;
}

/** Instants in milliseconds since 1970. */
export interface Done {
  readonly granted: readonly number[];
  readonly released: readonly number[];
}

export interface Waiter {
  readonly contender: number;
  readonly who: string;
}

export interface Child {
  /** The contenders that can wait, with their number. */
  readonly waiters: readonly Waiter[];
  do(task: Task): Promise<Done>;
  end(): Promise<void>;
}

const isWaiter = (value: unknown): value is Waiter =>
  typeof value === "object" && value !== null && "contender" in value && "who" in value;
const isDone = (value: unknown): value is Done =>
  typeof value === "object" && value !== null && "granted" in value && "released" in value;

function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`a child ended with ${code}`));
    child.once("exit", onExit);
    child.once("message", (value) => {
      child.off("exit", onExit);
      resolve(value);
    });
  });
}

async function startChild(store: BenchStore, url: string, namespace: string): Promise<Child> {
  const child = fork(fileURLToPath(new URL("child.ts", import.meta.url)), [store.name, url, namespace], {
    execArgv: ["--conditions=source", "--import", "tsx"],
  });
  const said = await nextMessage(child);
  return {
    waiters: Array.isArray(said) ? said.filter(isWaiter) : [],
    async do(task) {
      const answer = nextMessage(child);
      child.send(task);
      const done = await answer;
      if (!isDone(done)) throw new Error("a child answered something else");
      return done;
    },
    end: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve());
        child.disconnect();
      }),
  };
}

/** Starts processes with coord and its peers on the store, ready to be told what to do; ends them after `work`. */
export async function withChildren<T>(
  count: number,
  store: BenchStore,
  url: string,
  namespace: string,
  work: (children: readonly Child[]) => Promise<T>,
): Promise<T> {
  const children = await Promise.all(Array.from({ length: count }, () => startChild(store, url, namespace)));
  try {
    return await work(children);
  } finally {
    await Promise.all(children.map((child) => child.end()));
  }
}
