import {
  type AcquireRequest,
  type AcquireResult,
  type Backend,
  type CallOptions,
  ConfigurationError,
  type Finding,
  type OverruleResult,
  type RenewOutcome,
  type RenewRequest,
  UnavailableError,
  type Within,
} from "@coord/core";
import { type Connected, connect } from "./connect.ts";
import { untilAborted } from "./database.ts";
import { diagnoseStatement, diagnosisOf } from "./diagnose.ts";
import { checkOptions, type PostgresBackendOptions } from "./options.ts";
import { recordOf, type Row } from "./rows.ts";
import { layout, setupSql, tableOf } from "./schema.ts";
import { named, type Statement, statementsFor } from "./statements.ts";
import { addressOf, watching } from "./watch.ts";
import { decideLimit, releaseBy, releaseValues, type Transaction, withinTransaction } from "./within.ts";

export interface PostgresBackend extends Backend {
  /**
   * The steps as statements of a transaction that you began and will end: a client in it, or a function that runs
   * `(text, values)` in it. `verify` before the writes it protects; a takeover then waits for your commit.
   */
  within(transaction: Transaction): Within;
}

const maxRenewBatch = 1000;
const lockTimeoutOf = ({ timeoutMs }: CallOptions): string => String(Math.max(1, Math.floor(timeoutMs)));

function acquireResult(request: AcquireRequest, row: Row): AcquireResult {
  const reason = row["reason"];
  const record = row["fence"] === null ? null : recordOf(request.name, row);
  if (reason === null && record !== null) {
    return { outcome: "granted", fence: record.fence, payload: record.payload };
  }
  if (reason === "spent" || reason === "held" || reason === "sealed" || reason === "moved") {
    return { outcome: "refused", reason, record, remainingMs: record?.remainingMs ?? 0 };
  }
  throw new UnavailableError(`PostgreSQL answered an acquire with the reason ${String(reason)}`);
}

/** Requests in rounds with no name twice: one statement changes a row once. Nearly always one round. */
function roundsOf(requests: readonly RenewRequest[]): number[][] {
  const rounds: { readonly names: Set<string>; readonly indexes: number[] }[] = [];
  for (const [index, { name }] of requests.entries()) {
    const id = `${name.namespace}\0${name.key}`;
    let round = rounds.find(({ names, indexes }) => !names.has(id) && indexes.length < maxRenewBatch);
    if (round === undefined) rounds.push((round = { names: new Set(), indexes: [] }));
    round.names.add(id);
    round.indexes.push(index);
  }
  return rounds.map(({ indexes }) => indexes);
}

/**
 * Leases in one table of PostgreSQL 14 or later. Does no I/O by itself.
 *
 * @throws {InvalidArgumentError} when an option breaks its rule.
 */
export function postgresBackend(options: PostgresBackendOptions): PostgresBackend {
  checkOptions(options);
  const table = tableOf(options);
  const statements = statementsFor(table.quoted);
  const connected: Connected = connect(options);
  const { run, hub } = connected;
  const waits = hub === undefined ? undefined : watching(table, statements, run, hub);

  /** The one row of a step; no row is undecided: nothing was written, so it is asked again at once. */
  async function decide(statement: Statement, values: readonly unknown[], call: CallOptions): Promise<Row> {
    for (let attempt = 0; attempt < decideLimit; attempt++) {
      const [row] = await run(statement, values, call);
      if (row !== undefined) return row;
    }
    throw new UnavailableError("the record changed each time it was to be written", { notDone: true });
  }

  async function renewRound(requests: readonly RenewRequest[], call: CallOptions): Promise<RenewOutcome[]> {
    const outcomes = requests.map((): RenewOutcome => "lost");
    const rows = await run(
      statements.renew,
      [
        requests.map(({ name }) => name.namespace),
        requests.map(({ name }) => name.key),
        requests.map(({ grantId }) => grantId),
        requests.map(({ fence }) => fence.toString()),
        requests.map(({ ttlMs }) => ttlMs),
        requests.map(({ payload, payloadSeq }) => (payloadSeq === undefined ? null : (payload ?? null))),
        requests.map(({ payload, payloadSeq }) => (payload === undefined ? null : (payloadSeq ?? null))),
      ],
      call,
    );
    for (const row of rows)
      outcomes[Number(row["i"]) - 1] = row["outcome"] === "renewed" ? "renewed" : "unknown";
    return outcomes;
  }

  async function setup(call: CallOptions): Promise<void> {
    const text =
      "SELECT to_regclass($1::text) IS NOT NULL AS found, obj_description(to_regclass($1::text), 'pg_class') AS layout";
    const look = async (): Promise<boolean> => {
      const [row] = await run(named("setup", text), [table.quoted], call);
      // Another comment, or none, is another table: nothing of ours is made without its comment.
      if (row?.["found"] === true && row["layout"] !== layout) {
        throw new ConfigurationError(
          `${table.quoted} exists and its comment is ${JSON.stringify(row["layout"])}, not "${layout}"; choose another ` +
            `\`schema\` or \`table\`, or if it only lost its comment: COMMENT ON TABLE ${table.quoted} IS '${layout}'`,
        );
      }
      return row?.["found"] === true;
    };
    // Looked first: whoever only uses the table needs no right to make it.
    if (await look()) return;
    await run(named("create", setupSql(table)), [], call);
    await look();
  }

  async function tryPush(call: CallOptions): Promise<Finding> {
    if (hub === undefined) {
      const why =
        options.listen === false ? "`listen` is false" : "the client can't spare a connection to listen on";
      return { level: "ok", message: `no push, so waiters poll: ${why}` };
    }
    try {
      const topic = { channel: "coord_diagnose", onMessage: () => {}, onChange: () => {} };
      await untilAborted(hub.subscribe(topic), call.signal, () => new UnavailableError("no answer in time"));
      hub.unsubscribe(topic);
      return { level: "ok", message: "LISTEN and NOTIFY deliver" };
    } catch (error) {
      const why = error instanceof Error ? error.message : "unknown";
      return {
        level: "warning",
        message: `LISTEN and NOTIFY do not deliver, so waiters poll: ${why}`,
        remedy: "pass `listen: { url }` with an address that no transaction pooler stands before",
      };
    }
  }

  return {
    info: { name: "postgres", maxRenewBatch },
    acquire: async (request, call) => {
      const { name, grantId, holder, ttlMs, sealed, payload, retainMs, ifFence, from, withPayload } = request;
      const fence = from === undefined ? ifFence : from.fence;
      const head = [name.namespace, name.key, grantId, holder, ttlMs, sealed, payload ?? null, retainMs];
      const tail = [
        from?.grantId ?? null,
        fence?.toString() ?? null,
        withPayload === true,
        lockTimeoutOf(call),
      ];
      const result = acquireResult(request, await decide(statements.acquire, [...head, ...tail], call));
      if (result.outcome === "refused" && result.record !== null) waits?.refused(name);
      return result;
    },
    renew: async (requests, call) => {
      const outcomes = requests.map((): RenewOutcome => "unknown");
      for (const indexes of roundsOf(requests)) {
        const round = indexes.flatMap((index) => requests[index] ?? []);
        const answers = await renewRound(round, call);
        for (const [i, index] of indexes.entries()) outcomes[index] = answers[i] ?? "unknown";
      }
      return outcomes;
    },
    release: (request, call) =>
      releaseBy(statements, request, (statement) =>
        run(statement, releaseValues(table, request, lockTimeoutOf(call)), call),
      ),
    inspect: async (name, call) => {
      const [row] = await run(statements.inspect, [name.namespace, name.key], call);
      return row?.["found"] === true ? recordOf(name, row) : null;
    },
    overrule: async (request, call): Promise<OverruleResult> => {
      const { name, grantId, fence, released, sealed, payload, retainMs, now } = request;
      const { channel, message } = addressOf(table, name);
      const head = [name.namespace, name.key, grantId, fence.toString(), released, sealed, payload ?? null];
      const values = [...head, retainMs, now === true, channel, message, lockTimeoutOf(call)];
      const row = await decide(statements.overrule, values, call);
      const record = row["fence"] === null ? null : recordOf(name, row);
      if (row["outcome"] !== "overruled" || record === null) return { outcome: "moved", record };
      return { outcome: "overruled", fence: record.fence };
    },
    list: async (request, call) => {
      const { statement, values } = statements.list(request);
      const rows = await run(statement, values, call);
      return rows.map((row) => recordOf({ namespace: request.namespace, key: String(row["key"]) }, row));
    },
    prune: async ({ limit }, call) => {
      const [row] = await run(statements.prune, [limit], call);
      return Number(row?.["pruned"] ?? 0);
    },
    setup,
    diagnose: async (call) => {
      const push = await tryPush(call);
      const beforeMs = Date.now();
      const [row = {}] = await run(diagnoseStatement(), [table.quoted], call);
      return diagnosisOf(table, row, push, { beforeMs, afterMs: Date.now() });
    },
    close: connected.close,
    within: (transaction) => withinTransaction(table, statements, transaction),
    ...(waits !== undefined && { watch: waits.watch }),
  };
}
