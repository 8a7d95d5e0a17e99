import type { BackendInfo } from "./backend.ts";
import { longestTimerMs } from "./clock.ts";
import type { ElectionOptions } from "./election-api.ts";
import { InvalidArgumentError } from "./errors.ts";
import { show } from "./json.ts";
import { encodeStatus } from "./presence.ts";
import { checkHolder, checkKey, checkMs, checkOptions, checkTtl, maxKeyBytes } from "./validate.ts";

/** What a candidate's id and its separator take of a key. */
const candidateBytes = 23;

export interface ElectionDefaults {
  readonly ttlMs: number;
  readonly holder: string;
}

export interface CheckedElection extends Pick<
  ElectionOptions,
  "onElected" | "onLost" | "onCycle" | "onError"
> {
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly holder: string;
  readonly statusText: string | undefined;
}

/** Everything about an election, checked before anything happens. */
export function checkElection(
  info: BackendInfo,
  name: string,
  options: ElectionOptions,
  defaults: ElectionDefaults,
): CheckedElection {
  const { onElected, onLost, onCycle, onError, status, ...rest } = options ?? {};
  const callbacks = { onElected, onLost, onCycle, onError };
  checkOptions(options, ["ttlMs", "status", "graceMs", "holder", ...Object.keys(callbacks)]);
  checkKey(name, "election name");
  for (const [callback, given] of Object.entries(callbacks)) {
    if (given === undefined || typeof given === "function") continue;
    throw new InvalidArgumentError(`${callback} must be a function, got ${show(given)}.`);
  }
  const statusText = status === undefined ? undefined : encodeStatus(status);
  if (statusText !== undefined && Buffer.byteLength(name) > maxKeyBytes - candidateBytes) {
    throw new InvalidArgumentError(
      `election name must have at most ${maxKeyBytes - candidateBytes} bytes where a status is given, got ${show(name)}. Hash the long part.`,
    );
  }
  const ttlMs = checkTtl(rest.ttlMs ?? defaults.ttlMs, info);
  const graceMs = checkMs("graceMs", rest.graceMs ?? 10_000, { min: 0, max: longestTimerMs });
  return { ...callbacks, statusText, ttlMs, graceMs, holder: checkHolder(rest.holder ?? defaults.holder) };
}
