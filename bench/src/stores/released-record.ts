import type { Backend } from "@coord/core";

export const fillNamespace = "fill";
export const fillKey = (number: number): string => `l\u001ffill:${number}`;

/** Leaves the first record of the namespace `fill` in the store, released, to be copied. Closes the backend. */
export async function leaveReleasedRecord(backend: Backend): Promise<void> {
  const call = { signal: new AbortController().signal, timeoutMs: 10_000 };
  const name = { namespace: fillNamespace, key: fillKey(0) };
  const grant = { name, grantId: "x", retainMs: 86_400_000, sealed: false };
  await backend.acquire({ ...grant, holder: "", ttlMs: 1000 }, call);
  await backend.release({ ...grant, fence: null }, call);
  await backend.close();
}
