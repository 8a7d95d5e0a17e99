/** What `coord once` keeps of a command: its exit code, and its standard output if that is small enough. */
import { write } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const writeTo = promisify(write);
const fullMs = 10;

/**
 * Writes to standard output from a thread of the pool: `process.stdout` would stop this process, and with it
 * the renewals, for as long as the reader of a pipe stands still. Whether anybody reads it changes nothing of
 * what the command does, nor of what is kept.
 */
export async function writeThrough(chunk: Buffer): Promise<void> {
  let from = 0;
  while (from < chunk.length) {
    try {
      from += (await writeTo(process.stdout.fd, chunk, from)).bytesWritten;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code !== "EAGAIN") return;
      await sleep(fullMs);
    }
  }
}

/** Text as it is; bytes that are no UTF-8, or text that JSON would blow up, as base64. */
export type Kept = {
  exitCode: number;
  stdout?: string;
  stdoutBase64?: string;
  /** Why there is no output. */
  notKept?: string;
};

export const maxOutputBytes = 131_072;
/** As JSON; a response may have 256 KiB, and base64 takes 171 KiB at the most. */
const maxTextBytes = 200_000;

interface Keeper {
  add(chunk: Buffer): void;
  answer(exitCode: number): Kept;
}

export function keep(wanted: boolean): Keeper {
  const chunks: Buffer[] = [];
  let bytes = 0;
  return {
    add(chunk) {
      bytes += chunk.length;
      if (wanted && bytes <= maxOutputBytes) chunks.push(chunk);
      else chunks.length = 0;
    },
    answer(exitCode) {
      if (!wanted) return { exitCode, notKept: "by --no-output" };
      if (bytes > maxOutputBytes)
        return { exitCode, notKept: `${bytes} bytes, at most ${maxOutputBytes} are` };
      const output = Buffer.concat(chunks);
      const text = output.toString("utf8");
      const fits = Buffer.byteLength(JSON.stringify(text)) <= maxTextBytes;
      if (fits && Buffer.from(text).equals(output)) return { exitCode, stdout: text };
      return { exitCode, stdoutBase64: output.toString("base64") };
    },
  };
}

interface Answer {
  readonly exitCode: number;
  readonly output?: Buffer | undefined;
  readonly notKept?: string | undefined;
}

/** `undefined` for a response that is not of this command's making. */
export function outputOf(response: unknown): Answer | undefined {
  if (typeof response !== "object" || response === null || !("exitCode" in response)) return undefined;
  const { exitCode, stdout, stdoutBase64, notKept }: Record<string, unknown> = { ...response };
  if (typeof exitCode !== "number" || !Number.isInteger(exitCode) || exitCode < 0 || exitCode > 255)
    return undefined;
  if (typeof stdout === "string") return { exitCode, output: Buffer.from(stdout) };
  if (typeof stdoutBase64 === "string") return { exitCode, output: Buffer.from(stdoutBase64, "base64") };
  return { exitCode, notKept: typeof notKept === "string" ? notKept : undefined };
}
