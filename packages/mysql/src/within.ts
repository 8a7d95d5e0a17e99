import { ConfigurationError, lostWithin, transitions } from "@coord/core";
import type { Grant, ReleaseRequest, ReleaseResult, Within } from "@coord/core";
import { ask, headerOf, rowsOf } from "./driver.ts";
import type { CallbackConnection, MysqlConnection } from "./driver.ts";
import { mapped } from "./failures.ts";
import { grantValue, nameValues, placeOf, readRow } from "./record.ts";
import { releaseValues } from "./steps.ts";
import type { Statements } from "./statements.ts";

const IN_TRANSACTION = 1;

/**
 * Steps as statements of a transaction that the caller began and ends. An error of the server is thrown as
 * it is meant for coord; the caller rolls back as after any other (a deadlock has done so already).
 */
export function createWithin(sql: Statements, client: MysqlConnection | CallbackConnection): Within {
  const connection = "promise" in client && typeof client.promise === "function" ? client.promise() : client;

  async function inTransaction<T>(work: (connection: MysqlConnection) => Promise<T>): Promise<T> {
    if (!("query" in connection)) {
      throw new ConfigurationError(
        "within() takes the connection of a transaction, from mysql2 or mysql2/promise.",
      );
    }
    try {
      const { serverStatus } = headerOf(await ask(connection, "DO 0"));
      if (serverStatus !== undefined && (serverStatus & IN_TRANSACTION) === 0) {
        throw new ConfigurationError(
          "The connection has no transaction open, so nothing would hold the record's lock: call beginTransaction() first.",
        );
      }
      return await work(connection);
    } catch (error) {
      throw mapped(error, "connected");
    }
  }

  async function verify({ grant }: { readonly grant: Grant }): Promise<void> {
    const { name, grantId, fence } = grant;
    const rows = await inTransaction(async (tx) =>
      rowsOf(await ask(tx, sql.verify, [...nameValues(name), grantValue(grantId), fence])),
    );
    if (rows.length > 0) return;
    throw lostWithin(grant);
  }

  async function release(request: ReleaseRequest): Promise<ReleaseResult> {
    const { name } = request;
    const place = placeOf(request.payload);
    return inTransaction(async (tx) => {
      const values = releaseValues(request, place);
      const { insertId } = headerOf(await ask(tx, sql.release(request.fence === null), values));
      if (insertId !== 0n) {
        if (place.aside !== null) await ask(tx, sql.storePayload, [...nameValues(name), place.aside]);
        return { outcome: "released" };
      }
      // A locking read: in REPEATABLE READ a plain one would show the record as the transaction first saw it.
      const [row] = rowsOf(await ask(tx, sql.recordLocked, nameValues(name)));
      const { record, nowUs } = row === undefined ? { record: null, nowUs: 0n } : readRow(row);
      const { result } = transitions.release(record, request, nowUs);
      return result.outcome === "released" && result.record === undefined ? { outcome: "lost" } : result;
    });
  }

  return { verify, release };
}
