import { transitions, UnavailableError } from "@coord/core";
import type {
  AcquireRequest,
  AcquireResult,
  Backend,
  CallOptions,
  Name,
  OverruleRequest,
  OverruleResult,
  RecordView,
  ReleaseRequest,
  ReleaseResult,
} from "@coord/core";
import type { Value } from "./driver.ts";
import { isDuplicate } from "./failures.ts";
import { grantValue, holderValue, nameValues, payloadValues, placeOf, readRow } from "./record.ts";
import type { PayloadPlace, Read } from "./record.ts";
import type { RunStep, Session } from "./sessions.ts";
import type { Statements } from "./statements.ts";

/** The three steps on one record that change it for good, and reading it. `renew` and the rest stand apart. */
export interface Steps extends Pick<Backend, "acquire" | "release" | "inspect" | "overrule"> {
  /** The name may be free now: the next attempt on it need not look first. */
  readonly expectFree: (name: Name) => void;
}

/** How often a statement's refusal and the record read after it may contradict each other. */
const MAX_LOOKS = 4;
/** How many refused names are remembered. */
const MAX_REFUSED = 10_000;

/** What an acquire's `insertId` says: 0 = refused. */
interface Granted {
  readonly fence: bigint;
  readonly repeated: boolean;
  readonly hadPayload: boolean;
}

const nameId = ({ namespace, key }: Name): string => `${namespace}\0${key}`;

const unpack = (id: bigint): Granted | undefined =>
  id === 0n ? undefined : { fence: id >> 2n, repeated: (id & 2n) !== 0n, hadPayload: (id & 1n) !== 0n };

/**
 * Sends a step's statement until it is decided: it was done, or the record read afterwards says why not.
 * A record that would allow the step by now changed in between, so the statement is sent again.
 */
async function decide<T>(
  attempt: () => Promise<T | undefined>,
  look: () => Promise<T | undefined>,
  lookFirst = false,
): Promise<T> {
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    const done = lookFirst && looks === 0 ? undefined : await attempt();
    const answer = done ?? (await look());
    if (answer !== undefined) return answer;
  }
  throw new UnavailableError("The record changed under every attempt.", {
    notDone: true,
    retryAfterMs: 20,
  });
}

export function createSteps(run: RunStep, sql: Statements): Steps {
  /** Names whose last attempt was refused: the next looks first, which costs less than a refused write and locks nothing. */
  const refusedBefore = new Set<string>();

  async function read(session: Session, name: Name, withPayload: boolean): Promise<Read> {
    const [row] = await session.read(sql.record(withPayload), nameValues(name));
    return row === undefined ? { record: null, nowUs: 0n } : readRow(row);
  }

  /** The statement of a step, and what it stores aside, as one. */
  async function writing(
    session: Session,
    name: Name,
    place: PayloadPlace,
    statement: () => Promise<bigint>,
    stored: (id: bigint) => boolean,
  ): Promise<bigint> {
    const { aside } = place;
    if (aside === null) return statement();
    return session.atomically(async () => {
      const id = await statement();
      if (stored(id)) await session.write(sql.storePayload, [...nameValues(name), aside]);
      return id;
    });
  }

  async function tryAcquire(
    session: Session,
    request: AcquireRequest,
    { place, text, values }: AcquireStatement,
  ): Promise<AcquireResult | undefined> {
    const { name } = request;
    const statement = async (): Promise<bigint> => (await session.write(text, values)).insertId;
    const stored = (id: bigint): boolean => unpack(id)?.repeated === false;
    const granted = unpack(await writing(session, name, place, statement, stored));
    if (granted === undefined) return undefined;
    const { fence } = granted;
    if (!granted.repeated && request.payload !== undefined) {
      return { outcome: "granted", fence, payload: request.payload };
    }
    if (!granted.hadPayload) return { outcome: "granted", fence, payload: undefined };
    const { record } = await read(session, name, true);
    // Overtaken between the two statements: what is stored now is not what this grant was given.
    return record?.fence === fence ? { outcome: "granted", fence, payload: record.payload } : undefined;
  }

  async function acquire(request: AcquireRequest, options: CallOptions): Promise<AcquireResult> {
    const id = nameId(request.name);
    const statement = acquireStatement(sql, request);
    const answer = await run(options, (session) =>
      decide(
        () => tryAcquire(session, request, statement),
        async () => {
          const { record, nowUs } = await read(session, request.name, request.withPayload ?? false);
          const { result } = transitions.acquire(record, request, nowUs);
          return result.outcome === "refused" ? result : undefined;
        },
        refusedBefore.has(id),
      ),
    );
    refusedBefore.delete(id);
    if (answer.outcome === "refused") {
      refusedBefore.add(id);
      for (const oldest of refusedBefore) {
        if (refusedBefore.size <= MAX_REFUSED) break;
        refusedBefore.delete(oldest);
      }
    }
    return answer;
  }

  async function release(request: ReleaseRequest, options: CallOptions): Promise<ReleaseResult> {
    const { name, fence } = request;
    const place = placeOf(request.payload);
    return run(options, (session) =>
      decide<ReleaseResult>(
        async () => {
          const statement = async (): Promise<bigint> => {
            const values = releaseValues(request, place);
            return (await session.write(sql.release(fence === null), values)).insertId;
          };
          const id = await writing(session, name, place, statement, (done) => done !== 0n);
          return id === 0n ? undefined : { outcome: "released" };
        },
        async () => {
          const { record, nowUs } = await read(session, name, true);
          const { result } = transitions.release(record, request, nowUs);
          return result.outcome === "lost" || result.record !== undefined ? result : undefined;
        },
      ),
    );
  }

  async function inspect(name: Name, options: CallOptions): Promise<RecordView | null> {
    const { record, nowUs } = await run(options, (session) => read(session, name, true));
    return record === null ? null : transitions.view(record, nowUs);
  }

  async function overrule(request: OverruleRequest, options: CallOptions): Promise<OverruleResult> {
    const { name, fence, retainMs } = request;
    const place = placeOf(request.payload);
    const [ns, key] = nameValues(name);
    const grant = grantValue(request.grantId);
    const sealed = request.sealed ? 1 : 0;
    return run(options, (session) => {
      const insert = async (): Promise<bigint> => {
        const values = [ns, key, grant, sealed, retainMs, place.at ?? 0, place.inRow];
        try {
          return (await session.write(sql.overruleNothing, values)).insertId;
        } catch (error) {
          if (isDuplicate(error)) return 0n;
          throw error;
        }
      };
      const update = async (): Promise<bigint> => {
        const keepsEnd = !request.sealed && !request.now ? 1 : 0;
        const header = await session.write(sql.overrule, [
          keepsEnd,
          sealed,
          retainMs,
          retainMs,
          ...payloadValues(place),
          grant,
          ns,
          key,
          grant,
          fence,
          request.released ? 1 : 0,
        ]);
        return header.insertId;
      };
      return decide<OverruleResult>(
        async () => {
          const statement = fence === 0n ? insert : update;
          const id = await writing(session, name, place, statement, (done) => done !== 0n);
          return id === 0n ? undefined : { outcome: "overruled", fence: id };
        },
        async () => {
          const { record, nowUs } = await read(session, name, true);
          const step = transitions.overrule(record, request, nowUs);
          return step.record === record ? step.result : undefined;
        },
      );
    });
  }

  const expectFree = (name: Name): void => void refusedBefore.delete(nameId(name));
  return { acquire, release, inspect, overrule, expectFree };
}

export function releaseValues(request: ReleaseRequest, place: PayloadPlace): Value[] {
  const { retainMs, fence } = request;
  return [
    request.sealed ? 1 : 0,
    retainMs,
    retainMs,
    ...payloadValues(place),
    ...nameValues(request.name),
    grantValue(request.grantId),
    ...(fence === null ? [] : [fence]),
  ];
}

interface AcquireStatement {
  readonly place: PayloadPlace;
  readonly text: string;
  readonly values: readonly Value[];
}

/** Throws `InvalidArgumentError` for what the store would cut, before anything is sent. */
function acquireStatement(sql: Statements, request: AcquireRequest): AcquireStatement {
  const { name, ttlMs, retainMs, ifFence, from } = request;
  const place = placeOf(request.payload);
  const [ns, key] = nameValues(name);
  const grant = grantValue(request.grantId);
  const holder = holderValue(request.holder);
  const sealed = request.sealed ? 1 : 0;
  if (from === undefined && (ifFence === undefined || ifFence === 0n)) {
    const onlyNew = ifFence === undefined ? 0 : 1;
    const values = [ns, key, grant, ttlMs, sealed, retainMs, holder, place.at, place.inRow, onlyNew];
    return { place, text: sql.acquire, values };
  }
  const head = [grant, holder, sealed, retainMs, ttlMs, ...payloadValues(place)];
  const where = [ttlMs, ttlMs, grant, ns, key, grant, grant];
  const target = from === undefined ? [ifFence ?? 0n] : [from.fence, grantValue(from.grantId)];
  const text = sql.acquireUpdate(from === undefined ? "fence" : "from");
  return { place, text, values: [...head, ...where, ...target] };
}
