import { randomBytes } from "node:crypto";
import type { AcquireRequest, CallOptions, Name } from "@coord/core";

/** A call that waits far longer than a healthy server takes. */
export const call = (timeoutMs = 10_000): CallOptions => ({
  signal: new AbortController().signal,
  timeoutMs,
});

export const freshId = (): string => randomBytes(16).toString("base64url");

export const freshNamespace = (): string => `t_${randomBytes(6).toString("hex")}`;

/** An attempt nobody waits out, changed by `wishes`. */
export function attempt(name: Name, wishes: Partial<AcquireRequest> = {}): AcquireRequest {
  return {
    name,
    grantId: freshId(),
    holder: "test",
    ttlMs: 60_000,
    sealed: false,
    retainMs: 3_600_000,
    ...wishes,
  };
}
