/** What every call of a test needs. */
import { randomBytes } from "node:crypto";
import { type CallOptions, type CoordErrorCode, isCoordError } from "@coord/core";

export const within = (timeoutMs = 10_000): CallOptions => ({
  signal: new AbortController().signal,
  timeoutMs,
});

export const freshId = (): string => randomBytes(16).toString("hex");
export const freshNamespace = (): string => `t${randomBytes(6).toString("hex")}`;

/** The error that a call ends with; fails where there is none. */
export async function errorOf(call: Promise<unknown> | undefined): Promise<Error> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error("the call was expected to fail");
}

/** The code of the library's error that a call ends with. */
export async function codeOf(call: Promise<unknown> | undefined): Promise<CoordErrorCode> {
  const error = await errorOf(call);
  if (!isCoordError(error)) throw error;
  return error.code;
}
