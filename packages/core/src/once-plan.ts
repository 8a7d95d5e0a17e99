import type { BackendInfo, Name } from "./backend.ts";
import { InvalidArgumentError } from "./errors.ts";
import { canonicalJson, fingerprint, show } from "./json.ts";
import type { OnceOptions, OnError } from "./once-api.ts";
import {
  checkHolder,
  checkKey,
  checkMs,
  checkOptions,
  checkRetain,
  checkSignal,
  checkTtl,
  checkWait,
  storedName,
  userPayloadBytes,
} from "./validate.ts";

const onceOptions = [
  "input",
  "ttlMs",
  "maxHoldMs",
  "waitMs",
  "onError",
  "onUncertain",
  "rerunWithinMs",
  "probe",
  "retainMs",
  "signal",
  "holder",
] as const;
const dayMs = 86_400_000;
const minRetainMs = 3_600_000;
/** What core itself may add to the user's part of a payload. */
const envelopeBytes = 65_536;

/** One call of `once`, with everything checked. */
export interface Plan<Input, T> {
  readonly key: string;
  readonly name: Name;
  readonly ttlMs: number;
  readonly maxHoldMs: number;
  readonly waitMs: number;
  readonly retainMs: number | null;
  readonly holder: string;
  readonly signal: AbortSignal | undefined;
  readonly fingerprint: string;
  readonly input: Input;
  readonly maxResponseBytes: number;
  readonly onError: OnError | ((error: unknown) => OnError);
  /** `undefined` = uncertain executions are not run again. */
  readonly rerunWithinMs: number | undefined;
  readonly probe: OnceOptions<Input, T>["probe"];
}

function checkOneOf(what: string, value: unknown, known: readonly string[]): void {
  if (typeof value === "string" && known.includes(value)) return;
  const quoted = known.map((each) => `"${each}"`).join(", ");
  throw new InvalidArgumentError(`${what} must be one of ${quoted}, got ${show(value)}.`);
}

export function planOf<Input, T>(
  key: string,
  given: OnceOptions<Input, T>,
  own: {
    readonly namespace: string;
    readonly info: BackendInfo;
    readonly holder: string;
    readonly ttlMs: number;
  },
): Plan<Input, T> {
  checkOptions(given, onceOptions);
  const { onError = "uncertain", onUncertain = "report", probe } = given;
  if (typeof onError !== "function") checkOneOf("onError", onError, ["uncertain", "retryable", "final"]);
  checkOneOf("onUncertain", onUncertain, ["report", "rerun"]);
  if (probe !== undefined && typeof probe !== "function")
    throw new InvalidArgumentError(`probe must be a function, got ${show(probe)}.`);
  const ttlMs = checkTtl(given.ttlMs ?? own.ttlMs, own.info);
  const rerunWithinMs = checkMs("rerunWithinMs", given.rerunWithinMs ?? dayMs, {
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    infinite: true,
  });
  const text = given.input === undefined ? undefined : canonicalJson(given.input, "input", userPayloadBytes);
  // A copy, so that what runs is what the fingerprint says, whatever its caller changes meanwhile.
  const input: Input = text === undefined ? undefined : JSON.parse(text);
  return {
    key,
    name: storedName(own.namespace, "execution", checkKey(key)),
    ttlMs,
    maxHoldMs: checkMs("maxHoldMs", given.maxHoldMs ?? 10 * ttlMs, {
      min: ttlMs,
      max: Number.MAX_SAFE_INTEGER,
      remedy: `It counts milliseconds, and is at least ttlMs, which is ${ttlMs}: a run may take as long as its claim lives.`,
    }),
    waitMs: checkWait(given.waitMs ?? 0),
    retainMs: checkRetain(given.retainMs === undefined ? 30 * dayMs : given.retainMs, minRetainMs),
    holder: given.holder === undefined ? own.holder : checkHolder(given.holder),
    signal: checkSignal(given.signal),
    fingerprint: fingerprint(text ?? ""),
    input,
    maxResponseBytes: Math.min(userPayloadBytes, (own.info.maxPayloadBytes ?? Infinity) - envelopeBytes),
    onError,
    rerunWithinMs: onUncertain === "rerun" ? rerunWithinMs : undefined,
    probe,
  };
}
