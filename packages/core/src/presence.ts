import { hostname } from "node:os";
import { obtain } from "./acquire.ts";
import { call } from "./call.ts";
import type { CandidateInfo, CandidateStatus, LeaderInfo } from "./election-api.ts";
import type { Holding, Keepers } from "./holding.ts";
import { canonicalJson } from "./json.ts";
import { limits, storedName, storedPrefix } from "./validate.ts";

const statusBytes = 4096;
const callLimitMs = 5000;
const pageSize = 500;
/** Joins an election's name and a candidate's id; neither can contain it. */
const separator = "\u001F";

interface Presence {
  readonly host: string;
  readonly pid: number;
  readonly since: number;
  readonly ttlMs: number;
  readonly status: CandidateStatus;
}

export function encodeStatus(status: CandidateStatus): string {
  return canonicalJson(status, "status", statusBytes);
}

const isStatus = (value: unknown): value is CandidateStatus => typeof value === "object" && value !== null;

/** What no candidate of this library wrote is nothing. */
function parse(payload: string | undefined): unknown {
  try {
    return JSON.parse(payload ?? "null");
  } catch {
    return null;
  }
}

function decodePresence(payload: string | undefined): Presence | undefined {
  const value = parse(payload);
  if (typeof value !== "object" || value === null) return undefined;
  if (!("host" in value && "pid" in value && "since" in value && "ttlMs" in value && "status" in value))
    return undefined;
  const { host, pid, since, ttlMs, status } = value;
  if (typeof host !== "string" || typeof pid !== "number" || typeof since !== "number") return undefined;
  if (typeof ttlMs !== "number" || !isStatus(status)) return undefined;
  return { host, pid, since, ttlMs, status };
}

/** What the lease of an election says of its leader. */
export function encodeLeader(candidateId: string): string {
  return JSON.stringify({ candidate: candidateId });
}

function decodeLeader(payload: string | undefined): string {
  const value = parse(payload);
  return typeof value === "object" && value !== null && "candidate" in value ? String(value.candidate) : "";
}

export interface Standing {
  readonly election: string;
  readonly id: string;
  readonly holder: string;
  readonly ttlMs: number;
  readonly statusText: string;
  readonly since: number;
}

/** A lease of this candidate's own, whose payload is what it shows of itself. */
export async function showPresence(
  keepers: Keepers,
  standing: Standing,
  signal: AbortSignal,
): Promise<Holding | undefined> {
  const { election, id, holder, ttlMs, statusText, since } = standing;
  const shown = { host: hostname(), pid: process.pid, since, ttlMs };
  const obtained = await obtain(keepers, {
    kind: "candidate",
    key: `${election}${separator}${id}`,
    holder,
    ttlMs,
    waitMs: 0,
    sealed: false,
    payload: `${JSON.stringify(shown).slice(0, -1)},"status":${statusText}}`,
    retainMs: limits.minRetainMs,
    signal,
  });
  return obtained.holding;
}

/** Those who stand now; who leads is taken from the lease of the election. */
export async function readCandidates(keepers: Keepers, election: string): Promise<CandidateInfo[]> {
  const { host, backend, namespace } = keepers;
  const prefix = storedPrefix("candidate", election + separator);
  const names: string[] = [];
  for (let after: string | undefined; ; after = names.at(-1)) {
    const request = { namespace, prefix, state: "held", after, limit: pageSize } as const;
    const page = await call(host, { what: "list", limitMs: callLimitMs }, (options) =>
      backend.list(request, options),
    );
    names.push(...page.map(({ key }) => key));
    if (page.length < pageSize) break;
  }
  const leader = await readLeader(keepers, election);
  const records = await Promise.all(
    names.map((key) =>
      call(host, { what: "inspect", limitMs: callLimitMs }, (options) =>
        backend.inspect({ namespace, key }, options),
      ),
    ),
  );
  return records.flatMap((record): CandidateInfo[] => {
    const presence = decodePresence(record?.payload);
    if (record === null || presence === undefined || record.state !== "held") return [];
    const { host: on, pid, since, ttlMs, status } = presence;
    const info: CandidateInfo = {
      id: record.key.slice(prefix.length),
      holder: record.holder,
      host: on,
      pid,
      state: leader?.candidateId === record.key.slice(prefix.length) ? "leader" : "candidate",
      version: typeof status.version === "string" ? status.version : undefined,
      since: new Date(since),
      lastSeenMs: Math.max(0, ttlMs - record.remainingMs),
      status,
    };
    return [info];
  });
}

export async function readLeader(
  { host, backend, namespace }: Keepers,
  election: string,
): Promise<LeaderInfo | null> {
  const name = storedName(namespace, "election", election);
  const spec = { what: `inspect of the election "${election}"`, limitMs: callLimitMs };
  const record = await call(host, spec, (options) => backend.inspect(name, options));
  if (record?.state !== "held") return null;
  const { holder, fence, remainingMs, payload } = record;
  return { candidateId: decodeLeader(payload), holder, fence, remainingMs };
}
