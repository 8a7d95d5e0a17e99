import type { Name, RecordView } from "./backend.ts";
import { ask, longestCallMs } from "./call.ts";
import type { Keepers } from "./holding.ts";
import { CoordError, InvalidArgumentError } from "./errors.ts";
import { resolveChannel, traced } from "./events.ts";
import type { LeaseEvent } from "./events.ts";
import { storable } from "./execution.ts";
import { show } from "./json.ts";
import type { ExecutionInfo, Executions, Resolution } from "./once-api.ts";
import { complete, decode, settle, standingOf } from "./once-record.ts";
import type { ExecutionPayload, ExecutionStatus, Standing } from "./once-record.ts";
import { pages } from "./pages.ts";
import { overrule, writerOf } from "./reconcile.ts";
import {
  checkFence,
  checkKey,
  checkOptions,
  checkRetain,
  storedName,
  storedPrefix,
  userKey,
  userPayloadBytes,
} from "./validate.ts";

const readAtOnce = 16;
const defaultRetainMs = 2_592_000_000;
const statuses = ["running", "completed", "failed", "uncertain", "not-done"] as const;

function infoOf(key: string, { status, payload, fence, holder, remainingMs }: Standing): ExecutionInfo {
  const { attempt, startedAt, fingerprint, progress, response, notStored, failure, log } = payload;
  return {
    key,
    status,
    fence,
    holder,
    attempt,
    remainingMs,
    startedAt: startedAt === 0 ? undefined : new Date(startedAt),
    fingerprint,
    progress,
    response: response?.value,
    notStored,
    failure,
    attempts: log,
  };
}

/** Whether a record without its payload may have this status: spares reading the others. */
function mayBe(status: ExecutionStatus, { state, sealed, retainMs }: RecordView): boolean {
  if (status === "running") return state === "held";
  if (state === "held") return false;
  if (status === "not-done") return !sealed;
  if (status === "uncertain") return state === "lapsed" || retainMs === null;
  return sealed && state === "free";
}

export function createExecutions(keepers: Keepers): Executions {
  const { host, backend, namespace, line } = keepers;
  const nameOf = (key: string): Name => storedName(namespace, "execution", checkKey(key));

  const inspect = (name: Name): Promise<RecordView | null> =>
    ask(keepers, `inspect of "${userKey(name.key)}"`, longestCallMs, (options) =>
      backend.inspect(name, options),
    );

  /** All records with their payloads, a few reads at a time. */
  async function* read(
    prefix: string,
    wanted: (record: RecordView) => boolean,
  ): AsyncGenerator<RecordView, void, undefined> {
    const start = storedPrefix("execution", prefix === "" ? "" : checkKey(prefix, "prefix"));
    for await (const page of pages(keepers, "list", start)) {
      const chosen = page.filter(wanted);
      for (let from = 0; from < chosen.length; from += readAtOnce) {
        const part = chosen.slice(from, from + readAtOnce);
        const records = await Promise.all(part.map(({ key }) => inspect({ namespace, key })));
        for (const record of records) if (record !== null) yield record;
      }
    }
  }

  return {
    async *list(options = {}) {
      checkOptions(options, ["prefix", "status"]);
      const { prefix = "", status } = options;
      if (status !== undefined && !statuses.includes(status))
        throw new InvalidArgumentError(`status must be one of ${statuses.join(", ")}, got ${show(status)}.`);
      for await (const record of read(prefix, (each) => status === undefined || mayBe(status, each))) {
        const info = infoOf(userKey(record.key), standingOf(record));
        if (status === undefined || info.status === status) yield info;
      }
    },
    async get(key) {
      const record = await inspect(nameOf(key));
      return record === null ? null : infoOf(key, standingOf(record));
    },
    async resolve(key, resolution) {
      const name = nameOf(key);
      const { fence, by, note } = checkResolution(resolution);
      const event: LeaseEvent = {
        backend: backend.info.name,
        namespace,
        kind: "execution",
        key,
        fence,
        by,
        note,
      };
      await traced(resolveChannel, event, async () => {
        const found = await inspect(name);
        if (found === null || found.fence !== fence) throw moved(key, fence, found);
        const standing = standingOf(found);
        if (isAnswered(standing, resolution)) throw moved(key, fence, found);
        const writer = writerOf(keepers, by, note);
        const payload =
          resolution.as === "completed"
            ? complete(standing.payload, fence, { value: responseOf(resolution) }, writer)
            : settle(standing.payload, fence, resolution.as, writer);
        const { retainMs = found.retainMs ?? defaultRetainMs } = standing.payload;
        const decided = { payload, sealed: resolution.as !== "not-done", retainMs };
        const result = await overrule(keepers, name, standing, decided, writer.id);
        // Its answer may have been lost, and the name used by others since: then the log says that it was done.
        const done =
          result.outcome === "overruled" ||
          decode(result.record?.payload)?.log.some(({ id }) => id === writer.id) === true;
        if (result.outcome === "moved" && !done) throw moved(key, fence, result.record);
        line.ended(name);
      });
    },
    async *export(options = {}) {
      checkOptions(options, ["prefix"]);
      for await (const record of read(options.prefix ?? "", () => true)) {
        const { status, payload, fence } = standingOf(record);
        const writer = { at: host.wallMs(), by: record.holder, note: "exported while it was running" };
        const kept = status === "running" ? settle(payload, fence, "uncertain", writer) : settled(payload);
        const { retainMs } = record;
        yield JSON.stringify({ format: lineFormat, key: userKey(record.key), retainMs, execution: kept });
      }
    },
    async import(lines) {
      let imported = 0;
      const skipped: string[] = [];
      let number = 0;
      for await (const text of lines) {
        number += 1;
        if (text.trim() === "") continue;
        const { key, retainMs, payload } = parseLine(text, number);
        const sealed = payload.state !== "not-done";
        const decided = { payload, sealed, retainMs: payload.state === "uncertain" ? null : retainMs };
        const nobody = { fence: 0n, state: "free" } as const;
        const { outcome } = await overrule(keepers, nameOf(key), nobody, decided, host.randomId());
        if (outcome === "overruled") imported += 1;
        else skipped.push(key);
      }
      return { imported, skipped };
    },
  };
}

const lineFormat = "coord-execution-1";

/** A claim that nobody holds, in the words of a record that was released. */
const settled = (payload: ExecutionPayload): ExecutionPayload =>
  payload.state === "executing" ? { ...payload, state: "uncertain", before: undefined } : payload;

function parseLine(
  text: string,
  number: number,
): { readonly key: string; readonly retainMs: number | null; readonly payload: ExecutionPayload } {
  const refuse = (cause: unknown): never => {
    throw new InvalidArgumentError(
      `Line ${number} is no line of coord.executions.export(). The lines before it were imported; repair it and import all again.`,
      { cause },
    );
  };
  try {
    const line: unknown = JSON.parse(text);
    if (typeof line !== "object" || line === null) throw new TypeError("no object");
    if (!("format" in line) || line.format !== lineFormat) throw new TypeError(`format is not ${lineFormat}`);
    if (!("key" in line) || !("retainMs" in line) || !("execution" in line))
      throw new TypeError("a part is missing");
    const payload = decode(JSON.stringify(line.execution));
    if (payload === undefined || payload.state === "executing") throw new TypeError("no settled execution");
    return { key: checkKey(line.key), retainMs: checkRetain(line.retainMs, 0), payload };
  } catch (cause) {
    return refuse(cause);
  }
}

function checkResolution(resolution: Resolution): { fence: bigint; by: string; note: string | undefined } {
  checkOptions(resolution, ["fence", "by", "note", "as", "response"], "resolution");
  const { as, fence, by, note } = resolution;
  if (as !== "completed" && as !== "not-done" && as !== "failed")
    throw new InvalidArgumentError(`as must be "completed", "not-done" or "failed", got ${show(as)}.`);
  if ((as === "completed") !== "response" in resolution) {
    throw new InvalidArgumentError(
      as === "completed"
        ? "A resolution as completed needs the response that callers get from now on. Pass response: undefined if nobody reads it."
        : `A resolution as ${as} takes no response.`,
    );
  }
  return {
    fence: checkFence(fence),
    by: checkText(by, "by", 255),
    note: note === undefined ? undefined : checkText(note, "note", 1000),
  };
}

function checkText(value: unknown, what: string, maxLength: number): string {
  if (typeof value === "string" && value !== "" && value.length <= maxLength && value.isWellFormed())
    return value;
  throw new InvalidArgumentError(
    `${what} must be a text of 1 to ${maxLength} characters, got ${show(value)}. It stays in the record, for people.`,
  );
}

const responseOf = (resolution: Resolution & { as: "completed" }): unknown =>
  storable(resolution.response, userPayloadBytes);

/** A recorded answer stays; only a response that could not be stored may be added. */
function isAnswered({ status, payload }: Standing, resolution: Resolution): boolean {
  if (status === "completed") return payload.response !== undefined || resolution.as !== "completed";
  return status === "failed";
}

function moved(key: string, fence: bigint, record: RecordView | null): CoordError {
  const found =
    record === null
      ? "there is no such execution"
      : record.fence === fence
        ? `it is ${standingOf(record).status} now`
        : `its fence is ${record.fence} now`;
  return new CoordError(
    "COORD_MOVED",
    `"${key}" was not resolved: ${found}, you gave ${fence}. Read it again and decide anew.`,
  );
}
