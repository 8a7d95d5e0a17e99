import { join } from "node:path";
import type { Backend, CallOptions } from "@coord/core";
import type { Holder } from "../src/harness.ts";
import { forkHolder } from "../src/holder.ts";
import type { Question } from "./holder-child.ts";

const options = (): CallOptions => ({ signal: AbortSignal.timeout(5000), timeoutMs: 5000 });

const isQuestion = (message: unknown): message is Question =>
  typeof message === "object" && message !== null && "verb" in message;

/** A process that holds `key` on this process's `backend`, which it reaches by messages. */
export async function spawnHolder(
  backend: Backend,
  namespace: string,
  key: string,
  ttlMs: number,
): Promise<Holder> {
  return await forkHolder(join(import.meta.dirname, "holder-child.ts"), {
    args: [namespace, key, String(ttlMs)],
    execArgv: ["--conditions=source", "--import", "tsx"],
    async onMessage(message) {
      if (!isQuestion(message)) return undefined;
      const { id, verb, request } = message;
      return await backend[verb](request, options()).then(
        (result) => ({ id, result }),
        (error: unknown) => ({ id, failed: String(error) }),
      );
    },
  });
}
