import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Backend, CallOptions } from "@coord/core";
import type { Holder } from "../src/harness.ts";

interface Question {
  readonly id: number;
  readonly verb: "acquire" | "renew" | "release" | "inspect" | "overrule";
  readonly request: never;
}

type Message = Question | { readonly held: bigint } | { readonly wrote: bigint | null };

const options = (): CallOptions => ({ signal: AbortSignal.timeout(5000), timeoutMs: 5000 });

/** A process that holds `key` on this process's `backend`, which it reaches by messages. */
export async function spawnHolder(
  backend: Backend,
  namespace: string,
  key: string,
  ttlMs: number,
): Promise<Holder> {
  const child = fork(join(import.meta.dirname, "holder-child.ts"), [namespace, key, String(ttlMs)], {
    execArgv: ["--conditions=source", "--import", "tsx"],
    serialization: "advanced",
  });
  const exited = once(child, "exit");
  let wrote: ((fence: bigint | null) => void) | undefined;
  const fence = await new Promise<bigint>((resolve, reject) => {
    child.once("exit", () => reject(new Error("the holder ended before it held its lease")));
    child.on("message", (message: Message) => {
      if ("held" in message) resolve(message.held);
      else if ("wrote" in message) wrote?.(message.wrote);
      else void answer(message);
    });
  });
  async function answer({ id, verb, request }: Question): Promise<void> {
    const reply = await backend[verb](request, options()).then(
      (result) => ({ id, result }),
      (error: unknown) => ({ id, failed: String(error) }),
    );
    if (child.connected) child.send(reply);
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
