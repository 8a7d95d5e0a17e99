import { hostname } from "node:os";
import { obtain } from "./acquire.ts";
import type { RecordView } from "./backend.ts";
import { ask, call, longestCallMs } from "./call.ts";
import type { CandidateInfo, CandidateStatus, LeaderInfo } from "./election-api.ts";
import { longestTimerMs, pause, sleep } from "./clock.ts";
import { InvalidArgumentError } from "./errors.ts";
import type { Holding, Keepers } from "./holding.ts";
import { canonicalJson, show } from "./json.ts";
import { pages } from "./pages.ts";
import { limits, storedName, storedPrefix } from "./validate.ts";

const statusBytes = 4096;
/** So many records are read at a time: a store must not feel that somebody asks who stands. */
const readsAtOnce = 16;
/** Joins an election's name and a candidate's id; neither can contain it. */
const separator = "\u001F";

interface Presence {
  readonly host: string;
  readonly pid: number;
  readonly since: number;
  readonly ttlMs: number;
  readonly status: CandidateStatus;
}

export function encodeStatus(status: unknown): string {
  if (!isStatus(status)) {
    throw new InvalidArgumentError(
      `status must be an object, got ${Array.isArray(status) ? "an array" : show(status)}. Pass { version: "1.2.3" }.`,
    );
  }
  if (status.version !== undefined && typeof status.version !== "string")
    throw new InvalidArgumentError(
      `status.version must be a string, got ${show(status.version)}. Pass "1.2.3".`,
    );
  return canonicalJson(status, "status", statusBytes);
}

const isStatus = (value: unknown): value is CandidateStatus =>
  typeof value === "object" && value !== null && !Array.isArray(value);

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
  readonly report: (error: unknown) => void;
}

/** A lease of this candidate's own, whose payload is what it shows of itself. */
async function showPresence(
  keepers: Keepers,
  { election, id, holder, ttlMs, statusText }: Standing,
  since: number,
  gone: AbortSignal,
): Promise<Holding | undefined> {
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
    signal: gone,
  });
  return obtained.holding;
}

/** Keeps a candidate listed until it is gone; that it can't be is no reason not to stand. Never rejects. */
export async function keepPresence(keepers: Keepers, standing: Standing, gone: AbortSignal): Promise<void> {
  const { host } = keepers;
  const since = host.wallMs();
  while (!gone.aborted) {
    try {
      const presence = await showPresence(keepers, standing, since, gone);
      while (presence !== undefined && presence.state === "held" && !gone.aborted) {
        const wait = pause(host, longestTimerMs, gone);
        presence.signal.addEventListener("abort", wait.end, { once: true });
        await wait.over;
        presence.signal.removeEventListener("abort", wait.end);
      }
      if (presence?.state === "held") await presence.release({ sealed: false, retainMs: limits.minRetainMs });
    } catch (error) {
      if (gone.aborted) return;
      standing.report(error);
    }
    await sleep(host, standing.ttlMs / 3, gone);
  }
}

/** Those who stand now; who leads is taken from the lease of the election. */
export async function readCandidates(keepers: Keepers, election: string): Promise<CandidateInfo[]> {
  const { backend, namespace } = keepers;
  const prefix = storedPrefix("candidate", election + separator);
  const keys: string[] = [];
  for await (const page of pages(keepers, `list of the candidates of "${election}"`, prefix, "held"))
    keys.push(...page.map(({ key }) => key));
  const leader = await readLeader(keepers, election);
  const candidates: CandidateInfo[] = [];
  for (let first = 0; first < keys.length; first += readsAtOnce) {
    const some = keys.slice(first, first + readsAtOnce);
    const read = some.map(async (key) => {
      const what = `inspect of a candidate of "${election}"`;
      const record = await ask(keepers, what, longestCallMs, (o) => backend.inspect({ namespace, key }, o));
      return candidateOf(key.slice(prefix.length), record, leader);
    });
    candidates.push(...(await Promise.all(read)).filter((each) => each !== undefined));
  }
  return candidates;
}

function candidateOf(
  id: string,
  record: RecordView | null,
  leader: LeaderInfo | null,
): CandidateInfo | undefined {
  const presence = decodePresence(record?.payload);
  // Gone since it was listed, or nothing that this library wrote.
  if (record?.state !== "held" || presence === undefined) return undefined;
  const { host, pid, since, ttlMs, status } = presence;
  return {
    id,
    holder: record.holder,
    host,
    pid,
    state: leader?.candidateId === id ? "leader" : "candidate",
    version: typeof status.version === "string" ? status.version : undefined,
    since: new Date(since),
    lastSeenMs: Math.max(0, ttlMs - record.remainingMs),
    status,
  };
}

export async function readLeader(
  keepers: Keepers,
  election: string,
  signal?: AbortSignal,
): Promise<LeaderInfo | null> {
  const { host, backend, background, namespace } = keepers;
  const name = storedName(namespace, "election", election);
  const what = `inspect of the election "${election}"`;
  const spec = { what, limitMs: longestCallMs, signal: signal ?? background.signal };
  const record = await call(host, spec, (options) => backend.inspect(name, options));
  if (record?.state !== "held") return null;
  const { holder, fence, remainingMs, payload } = record;
  return { candidateId: decodeLeader(payload), holder, fence, remainingMs };
}
