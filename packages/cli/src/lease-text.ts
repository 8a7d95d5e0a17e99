import type { LeaseInfo } from "@coord/core";
import { showDuration } from "./duration.ts";
import { paint, printable, toJson } from "./terminal.ts";

export const leaseHead = ["STATE", "ENDS IN", "FENCE", "KEY", "HOLDER"] as const;

const colors = { held: "green", free: "dim", lapsed: "yellow" } as const;

/** As a row of a table; the holder comes last, as it may be cut. */
export function leaseRow(lease: LeaseInfo): string[] {
  const { key, fence, holder, state, remainingMs, sealed } = lease;
  return [
    paint(colors[state], sealed ? `${state}, sealed` : state),
    state === "held" ? showDuration(remainingMs) : "-",
    String(fence),
    printable(key),
    printable(holder),
  ];
}

export function leaseLines({
  key,
  fence,
  holder,
  state,
  remainingMs,
  sealed,
  checkpoint,
}: LeaseInfo): [string, string][] {
  const lines: [string, string][] = [
    ["key", printable(key)],
    ["state", paint(colors[state], state)],
    [state === "held" ? "holder" : "last holder", printable(holder)],
    ["fence", String(fence)],
  ];
  if (state === "held") lines.push(["ends in", `${showDuration(remainingMs)}, unless it is renewed`]);
  if (sealed) lines.push(["sealed", "yes: handed to nobody until somebody decides"]);
  if (checkpoint !== undefined) lines.push(["checkpoint", printable(toJson(checkpoint))]);
  return lines;
}

/** When a fence was given out, by the store's clock: its time part counts microseconds since 1970. */
export function fenceTime(fence: bigint): string | undefined {
  const ms = Number(fence / 1000n);
  return ms > 946_684_800_000 && ms < 4_102_444_800_000 ? new Date(ms).toISOString() : undefined;
}
