import {
  type Grant,
  lostWithin,
  type ReleaseRequest,
  type ReleaseResult,
  UnavailableError,
  type Within,
} from "@coord/core";
import type { QueryResult } from "./client.ts";
import { toCoordError } from "./errors.ts";
import { recordOf, type Row } from "./rows.ts";
import type { Table } from "./schema.ts";
import type { Statements } from "./statements.ts";
import { addressOf } from "./watch.ts";

/** Runs one statement in the caller's open transaction. */
export type QueryFunction = (text: string, values: unknown[]) => Promise<QueryResult>;
/** A client in a transaction, or a function that runs a statement in one (of any query builder or ORM). */
export type Transaction = QueryFunction | { query(text: string, values: unknown[]): Promise<QueryResult> };

/** How often an undecided statement is sent again. */
export const decideLimit = 8;

/** `$1` to `$10` of release; without a lock timeout, the caller's settings stay as they are. */
export function releaseValues(table: Table, request: ReleaseRequest, lockTimeout: string | null): unknown[] {
  const { name, grantId, fence, sealed, payload, retainMs } = request;
  const { channel, message } = addressOf(table, name);
  const { namespace, key } = name;
  const values = [namespace, key, grantId, fence?.toString() ?? null, sealed, payload ?? null, retainMs];
  return [...values, channel, message, lockTimeout];
}

/** The answer of a release, by one statement, or two where the grant was not held any more. */
export async function releaseBy(
  statements: Statements,
  request: ReleaseRequest,
  send: (statement: Statements["release"]) => Promise<readonly Row[]>,
): Promise<ReleaseResult> {
  if ((await send(statements.release)).length > 0) return { outcome: "released" };
  for (let attempt = 0; attempt < decideLimit; attempt++) {
    const [row] = await send(statements.released);
    if (row === undefined) return { outcome: "lost" };
    if (row["again"] === null) return { outcome: "released" };
    if (row["again"] === false) return { outcome: "released", record: recordOf(request.name, row) };
  }
  throw new UnavailableError("the record changed each time it was to be released", { notDone: true });
}

const isRow = (value: unknown): value is Row => typeof value === "object" && value !== null;

/** The steps as statements of the caller's transaction; it is never begun, committed or rolled back here. */
export function withinTransaction(table: Table, statements: Statements, transaction: Transaction): Within {
  async function send({ text }: Statements["guard"], values: unknown[]): Promise<readonly Row[]> {
    try {
      const result = await (typeof transaction === "function"
        ? transaction(text, values)
        : transaction.query(text, values));
      return result.rows.filter(isRow);
    } catch (error) {
      throw toCoordError(error, "sent");
    }
  }
  return {
    verify: async ({ grant }: { readonly grant: Grant }) => {
      const { name, grantId, fence } = grant;
      const rows = await send(statements.guard, [name.namespace, name.key, grantId, String(fence)]);
      if (rows.length > 0) return;
      throw lostWithin(grant);
    },
    release: (request) =>
      releaseBy(statements, request, (statement) => send(statement, releaseValues(table, request, null))),
  };
}
