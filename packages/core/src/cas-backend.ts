import type {
  Backend,
  BackendInfo,
  CallOptions,
  LeaseRecord,
  Name,
  RecordView,
  RenewOutcome,
  RenewRequest,
} from "./backend.ts";
import { isCoordError, UnavailableError } from "./errors.ts";
import { acquire, overrule, release, renew, view } from "./record.ts";
import type { Step } from "./record.ts";

/** What a read or a swap saw. `Token` stands for a payload whose text is a request of its own. */
export interface Seen<Version, Token extends object = never> {
  readonly record: LeaseRecord<string | Token> | null;
  /** What a swap is conditional on; for no record the version that means "must not exist". */
  readonly version: Version;
  /** The store's clock in the answer, in microseconds since 1970. */
  readonly nowUs: bigint;
  /** The store's `monotonicMs()` before the request was sent. */
  readonly sentAt: number;
}

/** A store that knows conditional writes (generations, versions, revisions), and little else. */
export interface CasStore<Version, Token extends object = never> extends Pick<
  Backend,
  "list" | "prune" | "setup" | "diagnose" | "close" | "watch"
> {
  readonly info: BackendInfo;
  /** What each ttl is lengthened by: the coarseness of the store's clock plus its skew. @default 0 */
  readonly padMs?: number | undefined;
  /** By how much the clock in an answer may be behind what it was: 1000 where it tells whole seconds. @default 0 */
  readonly coarseMs?: number | undefined;
  /** Milliseconds that never step, by which answers age in memory. @default performance.now */
  readonly monotonicMs?: (() => number) | undefined;
  read(name: Name, options: CallOptions): Promise<Seen<Version, Token>>;
  /** Writes if `seen.version` still stands; `null` when somebody else wrote. */
  swap(
    name: Name,
    seen: Seen<Version, Token>,
    record: LeaseRecord<string | Token>,
    options: CallOptions,
  ): Promise<Seen<Version, Token> | null>;
  /** The text behind a token; `null` when it is gone, as somebody else wrote. Needed where there are tokens. */
  text?(name: Name, token: Token, options: CallOptions): Promise<string | null>;
}

const turns = 8;
const rememberedMs = 1000;
const rememberedGrants = 10_000;
const concurrentRenewals = 16;

type Transition<Request, Result, P> = (
  record: LeaseRecord<P> | null,
  request: Request,
  nowUs: bigint,
) => Step<Result, P | string>;

interface Shown {
  readonly payload?: unknown;
  readonly record?: { readonly payload?: unknown } | null | undefined;
}

const inspect = <P>(
  record: LeaseRecord<P> | null,
  _: object,
  nowUs: bigint,
): Step<{ record: RecordView<P> | null }, P> => ({
  record,
  result: { record: record === null ? null : view(record, nowUs) },
});

/** A whole backend over conditional writes: read, decide by the reference transitions, swap. */
export function casBackend<Version, Token extends object = never>(store: CasStore<Version, Token>): Backend {
  type Payload = string | Token;
  const { padMs = 0, coarseMs = 0, monotonicMs = () => performance.now() } = store;

  /** What this process wrote last, per grant: saves the read before a renew or release. */
  const remembered = new Map<string, Seen<Version, Token>>();

  function remember(request: Owned, seen: Seen<Version, Token> | undefined): void {
    if (request.grantId === undefined) return;
    remembered.delete(slot(request));
    if (seen === undefined || monotonicMs() - seen.sentAt > rememberedMs) return;
    remembered.set(slot(request), seen);
    const oldest = remembered.keys().next();
    if (remembered.size > rememberedGrants && !oldest.done) remembered.delete(oldest.value);
  }

  function recall(request: Owned): Seen<Version, Token> | undefined {
    const seen = remembered.get(slot(request));
    if (seen === undefined) return undefined;
    // The answer's time plus all that has passed since sending: never behind the store's clock, or a lease
    // that lapsed would be revived from memory.
    const passedUs = BigInt(Math.ceil((monotonicMs() - seen.sentAt + coarseMs) * 1000));
    return { ...seen, nowUs: seen.nowUs + passedUs };
  }

  /** The record with its payload as text where the answer shows it; `undefined` = that text is gone. */
  async function readable(
    name: Name,
    record: LeaseRecord<Payload> | null,
    shown: boolean,
    options: CallOptions,
  ): Promise<LeaseRecord | null | undefined> {
    if (record === null) return null;
    const { payload } = record;
    if (payload === undefined || typeof payload === "string") return { ...record, payload };
    if (!shown) return { ...record, payload: undefined };
    const text = await store.text?.(name, payload, options);
    return typeof text === "string" ? { ...record, payload: text } : undefined;
  }

  async function decide<Request extends Owned, Result>(
    plan: Transition<Request, unknown, Payload>,
    answer: Transition<Request, Result, string>,
    request: Request,
    options: CallOptions,
    known?: Seen<Version, Token>,
  ): Promise<{ result: Result; before: Seen<Version, Token>; after: Seen<Version, Token> | undefined }> {
    let before = known;
    let swaps = 0;
    for (let turn = 0; turn < turns; turn += 1) {
      const fresh = before === undefined;
      before ??= await attempt(store.read(request.name, options), () => swaps === 0);
      const planned = plan(before.record, request, before.nowUs);
      const written = planned.record === before.record ? null : planned.record;
      // From memory only a write may follow: every refusal comes from a read.
      if (written !== null || fresh) {
        const shown = readable(request.name, before.record, showsToken(planned.result), options);
        const record = await attempt(shown, () => swaps === 0);
        if (record !== undefined) {
          const { result } = answer(record, request, before.nowUs);
          if (written === null) {
            remember(request, undefined);
            return { result, before, after: undefined };
          }
          swaps += 1;
          const swapped = store.swap(request.name, before, written, options);
          const after = await attempt(swapped, (error) => error.notDone && swaps === 1);
          if (after !== null) {
            remember(request, after.record?.expiresAt ? after : undefined);
            return { result, before, after };
          }
        }
      }
      before = undefined;
    }
    throw new UnavailableError(
      `${store.info.name}: others wrote "${request.name.key}" ${turns} times between our read and our write. Try again later.`,
    );
  }

  async function renewOne(request: RenewRequest, options: CallOptions): Promise<RenewOutcome> {
    const padded = { ...request, ttlMs: request.ttlMs + padMs };
    const known = recall(request);
    const { result, before, after } = await decide(renew<Payload>, renew<string>, padded, options, known);
    const isLate =
      before.record !== null && after !== undefined && Number(after.nowUs / 1000n) >= before.record.expiresAt;
    if (!isLate) return result;
    remember(request, undefined);
    await takeBack(request.name, before, after, options);
    return "lost";
  }

  /**
   * A precondition can't ask for the time: a swap that was applied after the old expiry came too late, and
   * must not keep others from the name. A payload that it brought stays, as the old text is gone.
   */
  async function takeBack(
    name: Name,
    before: Seen<Version, Token>,
    after: Seen<Version, Token>,
    options: CallOptions,
  ): Promise<void> {
    if (before.record === null || after.record === null) return;
    const { payload, payloadSeq } = after.record;
    try {
      await store.swap(name, after, { ...before.record, payload, payloadSeq }, options);
    } catch {
      // The lease is lost all the same; the name looks held until the late renewal's own end.
    }
  }

  const backend: Backend = {
    info: store.info,
    async acquire(request, options) {
      const padded = { ...request, ttlMs: request.ttlMs + padMs };
      return (await decide(acquire<Payload>, acquire<string>, padded, options)).result;
    },
    async renew(requests, options) {
      const outcomes: RenewOutcome[] = requests.map(() => "unknown");
      const failures: unknown[] = [];
      const queue = requests.entries();
      const worker = async (): Promise<void> => {
        for (const [i, request] of queue) {
          try {
            outcomes[i] = await renewOne(request, options);
          } catch (error) {
            failures.push(error);
          }
        }
      };
      await Promise.all(Array.from({ length: concurrentRenewals }, worker));
      // One spoilt record must not take the answers of the others along; with no answer at all, say why.
      if (failures.length > 0 && failures.length === requests.length) throw worst(failures);
      return outcomes;
    },
    async release(request, options) {
      return (await decide(release<Payload>, release<string>, request, options, recall(request))).result;
    },
    async inspect(name, options) {
      return (await decide(inspect<Payload>, inspect<string>, { name }, options)).result.record;
    },
    async overrule(request, options) {
      return (await decide(overrule<Payload>, overrule<string>, request, options)).result;
    },
    list: (request, options) => store.list(request, options),
    prune: (request, options) => store.prune(request, options),
    setup: (options) => store.setup(options),
    diagnose: (options) => store.diagnose(options),
    close: () => store.close(),
  };
  const { watch } = store;
  return watch === undefined ? backend : { ...backend, watch: watch.bind(store) };
}

/** Passes an error on, with `notDone` as this whole step, and not only its last request, stands. */
async function attempt<T>(work: Promise<T>, notDone: (error: UnavailableError) => boolean): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof UnavailableError) || error.notDone === notDone(error)) throw error;
    const { message, cause, retryAfterMs } = error;
    throw new UnavailableError(message, {
      notDone: notDone(error),
      ...(cause !== undefined && { cause }),
      ...(retryAfterMs !== undefined && { retryAfterMs }),
    });
  }
}

/** What repeating would not mend comes first. */
const worst = (failures: readonly unknown[]): unknown =>
  failures.find((error) => !isCoordError(error, "COORD_UNAVAILABLE")) ?? failures[0];

const slot = ({ name, grantId }: Owned): string => `${name.namespace}/${name.key}\n${grantId ?? ""}`;

interface Owned {
  readonly name: Name;
  readonly grantId?: string | undefined;
}

function showsToken(result: unknown): boolean {
  if (typeof result !== "object" || result === null) return false;
  const { payload, record }: Shown = result;
  return typeof payload === "object" || typeof record?.payload === "object";
}
