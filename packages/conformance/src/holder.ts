/** A lease held by another process: what the parent starts, and what the child runs. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { createCoordinator } from "@coord/core";
import type { Backend } from "@coord/core";
import type { Holder } from "./harness.ts";

export interface HolderOptions {
  /** The child's `process.argv` from the third word on. @default none */
  readonly args?: readonly string[] | undefined;
  /** Node's own options, such as a loader for TypeScript. @default those of this process */
  readonly execArgv?: readonly string[] | undefined;
  /** Gets every other message of the child; what it answers is sent back unless it is undefined. */
  readonly onMessage?: ((message: unknown) => Promise<unknown>) | undefined;
}

type Said = { readonly held: bigint } | { readonly wrote: bigint | null };

const isSaid = (message: unknown): message is Said =>
  typeof message === "object" && message !== null && ("held" in message || "wrote" in message);

/**
 * Starts `program`, which calls `holdLease`, as a process of its own, and resolves when it holds its lease.
 * Rejects when it ends before.
 */
export async function forkHolder(program: string, options: HolderOptions = {}): Promise<Holder> {
  const { args = [], execArgv, onMessage } = options;
  const child = fork(program, [...args], {
    serialization: "advanced",
    ...(execArgv && { execArgv: [...execArgv] }),
  });
  const exited = once(child, "exit");
  let wrote: ((fence: bigint | null) => void) | undefined;
  const fence = await new Promise<bigint>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) =>
      reject(new Error(`${program} ended with ${code ?? signal} before it held its lease.`)),
    );
    child.on("message", (message: unknown) => {
      if (!isSaid(message)) void forward(message);
      else if ("held" in message) resolve(message.held);
      else wrote?.(message.wrote);
    });
  });
  async function forward(message: unknown): Promise<void> {
    const answer = await onMessage?.(message);
    if (answer !== undefined && child.connected) child.send(Object(answer));
  }
  return {
    pid: child.pid ?? 0,
    fence,
    async write() {
      const written = new Promise<bigint | null>((resolve) => (wrote = resolve));
      child.send("write");
      const result = await written;
      if (result === null) throw new Error("the holder's lease is lost");
      return result;
    },
    async kill(signal) {
      child.kill(signal);
      if (signal === "SIGKILL") await exited;
    },
  };
}

/** In the child: takes the lease of `key`, renews it, and writes when it is asked to, until its parent ends. */
export async function holdLease(
  backend: Backend,
  { namespace, key, ttlMs }: { readonly namespace: string; readonly key: string; readonly ttlMs: number },
): Promise<void> {
  process.on("disconnect", () => process.exit());
  const coordinator = createCoordinator({ backend, namespace, cleanUp: false });
  const lease = await coordinator.acquire(key, { ttlMs });
  const wrote = (): bigint | null => {
    try {
      lease.assertHeld();
      return lease.fence;
    } catch {
      return null;
    }
  };
  process.on("message", (message) => {
    if (message === "write") process.send?.({ wrote: wrote() });
  });
  process.send?.({ held: lease.fence });
}
