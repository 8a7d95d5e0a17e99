import { setMaxListeners } from "node:events";
import { hostname } from "node:os";
import type {
  AcquireOptions,
  Coordinator,
  CoordinatorOptions,
  Defaults,
  HoldOptions,
  LeaseInfo,
  TryWithLeaseOptions,
  TryWithLeaseResult,
  WithLeaseOptions,
} from "./api.ts";
import type { Backend, RecordView } from "./backend.ts";
import { obtain } from "./acquire.ts";
import type { AcquireSpec, Obtained } from "./acquire.ts";
import { ask, createBackground, longestCallMs } from "./call.ts";
import { adminLimitMs, createOffsetGuard, prune, startCleanUp } from "./clean-up.ts";
import { createClock, longestTimerMs, systemHost, waitUpTo } from "./clock.ts";
import { createDeadlines } from "./deadline.ts";
import { AcquireTimeoutError, CoordError, InvalidArgumentError, StaleFenceError } from "./errors.ts";
import { createElection } from "./election.ts";
import type { Election } from "./election-api.ts";
import { breakChannel, traced } from "./events.ts";
import type { LeaseEvent } from "./events.ts";
import type { Holding, Keepers } from "./holding.ts";
import { show } from "./json.ts";
import { decodeCheckpoint, decodeHandOver, LeaseHandle } from "./lease.ts";
import type { Lease } from "./lease.ts";
import { createExecutions } from "./executions.ts";
import { createKnownHeld } from "./known-held.ts";
import { createLine } from "./line.ts";
import { pages } from "./pages.ts";
import { createOnce } from "./once.ts";
import type { OnceParts } from "./once.ts";
import { createRegister } from "./register.ts";
import { createRenewer } from "./renewer.ts";
import {
  checkFence,
  checkHolder,
  checkKey,
  checkKind,
  checkMs,
  checkNamespace,
  checkOptions,
  checkRetain,
  checkSignal,
  checkTtl,
  checkWait,
  storedName,
  storedPrefix,
  userKey,
} from "./validate.ts";
import { createContexts, runUnder } from "./with-lease.ts";
import { createWrapOnce } from "./wrap-once.ts";

const settleMs = 1000;
const tryOptions = ["ttlMs", "maxHoldMs", "retainMs", "signal", "holder", "renew"] as const;
const acquireOptions = [...tryOptions, "waitMs"] as const;

function infoOf(record: RecordView): LeaseInfo {
  const { fence, holder, state, remainingMs, sealed, payload } = record;
  const checkpoint = decodeCheckpoint(payload);
  return { key: userKey(record.key), fence, holder, state, remainingMs, sealed, checkpoint };
}

/** A coordinator over one backend and namespace. Does no I/O by itself. */
export function createCoordinator(options: CoordinatorOptions): Coordinator {
  const remedy = "Pass what an adapter's factory returned, for instance postgresBackend({ client: pool }).";
  if (typeof options !== "object" || options === null)
    throw new InvalidArgumentError(`createCoordinator needs { backend }, got ${show(options)}. ${remedy}`);
  checkOptions(options, [
    "backend",
    "namespace",
    "defaults",
    "holder",
    "maxClockOffsetMs",
    "rememberHeld",
    "cleanUp",
    "host",
  ]);
  const { backend, host = systemHost } = options;
  if (typeof backend?.acquire !== "function") {
    throw new InvalidArgumentError(`backend must be a backend, got ${show(backend)}. ${remedy}`);
  }
  const namespace = checkNamespace(options.namespace ?? "default");
  const holder = checkHolder(options.holder ?? `${hostname()}:${process.pid}`);
  const defaults = checkDefaults(options.defaults ?? {}, backend);

  const background = createBackground();
  const runtime = { host, clock: createClock(host), backend, namespace, background };
  const keepers: Keepers = {
    ...runtime,
    deadlines: createDeadlines(host, runtime.clock),
    renewer: createRenewer(runtime),
    line: createLine(),
    holdings: createRegister<Holding>(),
    knownHeld: options.rememberHeld === true ? createKnownHeld(runtime.clock, holder) : undefined,
  };
  const contexts = createContexts();
  const elections = createRegister<Election>();
  const closed = new AbortController();
  setMaxListeners(0, closed.signal); // All that waits listens to it.
  const waiting = createRegister<object>();
  const working = createRegister<object>();
  const checkOffset =
    options.maxClockOffsetMs === undefined
      ? undefined
      : createOffsetGuard(
          runtime,
          checkMs("maxClockOffsetMs", options.maxClockOffsetMs, { min: 1, max: Number.MAX_SAFE_INTEGER }),
        );
  let closing: Promise<void> | undefined;
  let used = false;

  function begin(): void {
    if (closing !== undefined) {
      throw new CoordError(
        "COORD_CLOSED",
        "This coordinator is closed and takes no new work. Create another one.",
      );
    }
    if (used) return;
    used = true;
    if (options.cleanUp !== false) startCleanUp(keepers, holder);
  }

  function specOf(
    key: string,
    given: AcquireOptions,
    known: readonly string[],
    waitMs: unknown,
  ): AcquireSpec {
    checkOptions(given, known);
    const { maxHoldMs = defaults.maxHoldMs, retainMs = defaults.retainMs } = given;
    return {
      kind: "lease",
      key: checkKey(key),
      ttlMs: checkTtl(given.ttlMs ?? defaults.ttlMs, backend.info),
      waitMs: checkWait(waitMs),
      retainMs: checkRetain(retainMs),
      maxHoldMs: maxHoldMs === undefined ? undefined : checkMaxHold(maxHoldMs),
      signal: checkSignal(given.signal),
      holder: given.holder === undefined ? holder : checkHolder(given.holder),
      renews: given.renew ?? true,
      sealed: false,
    };
  }

  /** Begins work under a signal that a close aborts too. */
  const admit: OnceParts["admit"] = async (work, run) => {
    begin();
    contexts.check(work.id, work.key);
    work.signal?.throwIfAborted();
    const { signal, unlink } = linked(work.signal, closed.signal);
    const token = {};
    waiting.add(token);
    try {
      await checkOffset?.();
      return await run(signal);
    } finally {
      waiting.delete(token);
      unlink();
    }
  };

  function get(spec: AcquireSpec): Promise<Obtained> {
    const { key, signal } = spec;
    const id = storedName(namespace, spec.kind, key).key;
    return admit({ id, key, signal }, (ended) => obtain(keepers, { ...spec, signal: ended }));
  }

  function handle({ holding, payload }: Obtained & { holding: Holding }, spec: AcquireSpec): LeaseHandle {
    const event = { backend: backend.info.name, namespace, kind: spec.kind, key: spec.key };
    return new LeaseHandle(holding, spec.holder, payload, event);
  }

  async function acquireLease(spec: AcquireSpec): Promise<LeaseHandle> {
    const obtained = await get(spec);
    if (obtained.holding !== undefined) return handle(obtained, spec);
    const { record, remainingMs } = obtained.refused;
    const message = `"${spec.key}" was not free at the one try that waitMs 0 allows: held by ${record?.holder || "somebody else"} for another ${Math.round(remainingMs)} ms unless renewed.`;
    throw new AcquireTimeoutError(message, { key: spec.key, holder: record?.holder, remainingMs });
  }

  /** Counted as work until it settled, so that a close waits for the callback and not only for the lease. */
  async function under<T>(
    lease: LeaseHandle,
    minHoldMs: number,
    work: (lease: Lease) => Promise<T> | T,
  ): Promise<T> {
    const token = {};
    working.add(token);
    try {
      return await runUnder(lease, minHoldMs, (own) =>
        contexts.run(own.grant.name.key, async () => work(own)),
      );
    } finally {
      working.delete(token);
    }
  }

  async function drain(graceMs: number): Promise<void> {
    closed.abort(new CoordError("COORD_CLOSED", "The coordinator was closed while this waited for a lease."));
    for (const election of elections) void election.stop();
    const settled = Promise.all([
      elections.emptied(),
      keepers.holdings.emptied(),
      working.emptied(),
      waiting.emptied(),
    ]);
    await waitUpTo(host, graceMs, settled);
    const left = [...keepers.holdings];
    for (const holding of left) holding.lose("closed");
    // What was told to stop gets a moment to do so before anybody else is let in.
    await waitUpTo(host, settleMs, settled);
    await Promise.allSettled(
      left
        // What an execution came to, only its function can tell: until then its record stays sealed.
        .filter(({ granted }) => granted.kind !== "execution")
        .map((holding) => holding.release({ sealed: false, retainMs: holding.granted.retainMs })),
    );
    await waitUpTo(host, longestCallMs, background.idle());
    background.stop();
    await backend.close();
  }

  const once = createOnce({ keepers, contexts, working, holder, ttlMs: defaults.ttlMs, admit });
  const coordinator: Coordinator = {
    namespace,
    backend,
    once,
    wrapOnce: createWrapOnce(once),
    executions: createExecutions(keepers),
    async withLease<T>(
      key: string,
      ...rest: [(lease: Lease) => Promise<T> | T] | [WithLeaseOptions, (lease: Lease) => Promise<T> | T]
    ): Promise<T> {
      const { given, work, minHoldMs } = callbackArguments<T, WithLeaseOptions>(rest, "withLease");
      const spec = specOf(key, given, [...acquireOptions, "minHoldMs"], given.waitMs ?? defaults.waitMs);
      return under(await acquireLease(spec), minHoldMs, work);
    },
    async tryWithLease<T>(
      key: string,
      ...rest: [(lease: Lease) => Promise<T> | T] | [TryWithLeaseOptions, (lease: Lease) => Promise<T> | T]
    ): Promise<TryWithLeaseResult<T>> {
      const { given, work, minHoldMs } = callbackArguments<T, TryWithLeaseOptions>(rest, "tryWithLease");
      const spec = specOf(key, given, [...tryOptions, "minHoldMs"], 0);
      const obtained = await get(spec);
      if (obtained.holding === undefined) {
        const { record, remainingMs } = obtained.refused;
        return { acquired: false, holder: record?.holder, remainingMs };
      }
      return { acquired: true, value: await under(handle(obtained, spec), minHoldMs, work) };
    },
    acquire: async (key, given = {}) =>
      acquireLease(specOf(key, given, acquireOptions, given.waitMs ?? defaults.waitMs)),
    async tryAcquire(key, given = {}) {
      const spec = specOf(key, given, tryOptions, 0);
      const obtained = await get(spec);
      return obtained.holding === undefined ? null : handle(obtained, spec);
    },
    async adopt(text, given = {}) {
      const { namespace: theirs, key, grantId, fence, ttlMs } = decodeHandOver(text);
      if (theirs !== namespace) {
        throw new InvalidArgumentError(
          `This lease belongs to the namespace "${theirs}", this coordinator to "${namespace}". Adopt it with a coordinator of its own namespace.`,
        );
      }
      const spec = specOf(key, { ttlMs, ...given }, tryOptions, 0);
      const obtained = await get({ ...spec, from: { grantId, fence } });
      if (obtained.holding !== undefined) return handle(obtained, spec);
      throw new CoordError(
        "COORD_MOVED",
        `The lease "${key}" (fence ${fence}) can't be adopted: it lapsed, was released, or somebody adopted it already. A text works once, within the ttl. Acquire it anew.`,
      );
    },
    async inspect(key, { kind = "lease" } = {}) {
      const name = storedName(namespace, checkKind(kind), checkKey(key));
      const record = await ask(runtime, `inspect of "${key}"`, longestCallMs, (o) =>
        backend.inspect(name, o),
      );
      return record === null ? null : infoOf(record);
    },
    async *list({ prefix = "", kind = "lease", state } = {}) {
      const start = storedPrefix(checkKind(kind), prefix === "" ? "" : checkKey(prefix, "prefix"));
      for await (const page of pages(runtime, "list", start, state))
        for (const record of page) yield infoOf(record);
    },
    async breakLease(key, given) {
      checkOptions(given, ["fence", "by", "note", "now", "kind"]);
      const { by, note, now = false, kind = "lease" } = given;
      if (kind !== "lease" && kind !== "election") {
        throw new InvalidArgumentError(
          `kind must be "lease" or "election", got ${show(kind)}. Decide about executions with coord.executions.resolve.`,
        );
      }
      const fence = checkFence(given.fence);
      checkKey(by, "by");
      const name = storedName(namespace, kind, checkKey(key));
      const event: LeaseEvent = {
        backend: backend.info.name,
        namespace,
        kind,
        key,
        fence,
        by,
        note,
      };
      return traced(breakChannel, event, async () => {
        const record = await ask(runtime, `inspect of "${key}"`, longestCallMs, (o) =>
          backend.inspect(name, o),
        );
        const request = {
          name,
          grantId: host.randomId(),
          fence,
          released: record?.state === "free",
          sealed: record?.sealed ?? false,
          retainMs: record === null ? checkRetain(defaults.retainMs) : record.retainMs,
          now,
        };
        const result =
          record?.fence === fence
            ? await ask(runtime, `overrule of "${key}"`, longestCallMs, (o) => backend.overrule(request, o))
            : ({ outcome: "moved", record } as const);
        if (result.outcome === "overruled") {
          keepers.line.ended(name);
          keepers.knownHeld?.forget(name);
          return { fence: result.fence };
        }
        const found =
          result.record === null ? "there is no such lease" : `its fence is ${result.record.fence} now`;
        throw new CoordError(
          "COORD_MOVED",
          `"${key}" was not broken: ${found}, you gave ${fence}. Inspect it again and decide anew.`,
        );
      });
    },
    elect: (name, given = {}) =>
      createElection(
        keepers,
        name,
        given,
        { ttlMs: defaults.ttlMs, holder },
        {
          add: (election) => {
            begin();
            elections.add(election);
          },
          delete: (election) => elections.delete(election),
          checkOffset,
        },
      ),
    setup: () => ask(runtime, "setup", adminLimitMs, (o) => backend.setup(o)),
    diagnose: () => ask(runtime, "diagnose", adminLimitMs, (o) => backend.diagnose(o)),
    prune: () => prune(runtime),
    close({ graceMs = 10_000 } = {}) {
      closing ??= drain(checkMs("graceMs", graceMs, { min: 0, max: longestTimerMs }));
      return closing;
    },
    [Symbol.asyncDispose]: () => coordinator.close(),
  };
  return coordinator;
}

/** A signal that aborts with either of two; `AbortSignal.any` keeps what it made alive as long as its sources. */
function linked(
  own: AbortSignal | undefined,
  other: AbortSignal,
): { signal: AbortSignal; unlink: () => void } {
  if (own === undefined) return { signal: other, unlink: () => {} };
  const either = new AbortController();
  const follow = (event: Event): void => either.abort(event.target === own ? own.reason : other.reason);
  for (const signal of [own, other]) signal.addEventListener("abort", follow, { once: true });
  const unlink = (): void => {
    for (const signal of [own, other]) signal.removeEventListener("abort", follow);
  };
  return { signal: either.signal, unlink };
}

function checkMaxHold(value: unknown): number {
  return checkMs("maxHoldMs", value, { min: 1, max: Number.MAX_SAFE_INTEGER });
}

function checkDefaults(
  given: Defaults,
  backend: Backend,
): Defaults & { readonly ttlMs: number; readonly waitMs: number } {
  checkOptions(given, ["ttlMs", "waitMs", "maxHoldMs", "retainMs"], "defaults");
  const ttlMs = checkTtl(given.ttlMs ?? 30_000, backend.info, "defaults.ttlMs");
  const waitMs = checkWait(given.waitMs ?? 10_000);
  if (given.maxHoldMs !== undefined) checkMaxHold(given.maxHoldMs);
  const retainMs = given.retainMs === undefined ? 86_400_000 : checkRetain(given.retainMs);
  return { ...given, ttlMs, waitMs, retainMs };
}

function callbackArguments<T, Options extends HoldOptions>(
  rest: [(lease: Lease) => Promise<T> | T] | [Options, (lease: Lease) => Promise<T> | T],
  what: string,
): { given: Partial<Options>; work: (lease: Lease) => Promise<T> | T; minHoldMs: number } {
  const [first, second] = rest;
  const work = typeof first === "function" ? first : second;
  if (typeof work !== "function") {
    throw new InvalidArgumentError(
      `${what} takes a callback as its last argument, got ${show(work)}. Pass async (lease) => { … }.`,
    );
  }
  const given: Partial<Options> = typeof first === "function" ? {} : first;
  const minHoldMs = checkMs("minHoldMs", given.minHoldMs ?? 0, { min: 0, max: 86_400_000 });
  return { given, work, minHoldMs };
}

/**
 * Checks how many rows a write that carries the condition `fence <= lease.fence` has changed: none means that
 * a newer holder was here, and throws `StaleFenceError`. Throws `InvalidArgumentError` for what is no count.
 */
export function assertFenced(
  lease: { readonly key: string; readonly fence: bigint },
  changed: number | bigint | null | undefined,
): void {
  if (typeof changed === "bigint" ? changed < 0n : !Number.isInteger(changed) || Number(changed) < 0) {
    throw new InvalidArgumentError(
      `assertFenced needs the number of rows that the write has changed, got ${show(changed)}. Pass rowCount (pg), affectedRows (mysql2) or matchedCount (mongodb).`,
    );
  }
  if (Number(changed) > 0) return;
  throw new StaleFenceError(
    lease,
    `The write under "${lease.key}" (fence ${lease.fence}) changed no row: a newer holder has written here, or the row is missing. Stop; your lease is over.`,
  );
}
