import { ConfigurationError, transitions } from "@coord/core";
import type { Backend, ListRequest } from "@coord/core";
import { bytes } from "./driver.ts";
import type { Value } from "./driver.ts";
import { isMissingTable } from "./failures.ts";
import { assertPrimary, readRow } from "./record.ts";
import { createTables } from "./schema.ts";
import type { RunStep } from "./sessions.ts";
import { inState } from "./statements.ts";
import type { Statements, Tables } from "./statements.ts";

export type Upkeep = Pick<Backend, "list" | "prune" | "setup">;

/** The key after all that begin with `prefix`; UTF-8 has no byte 0xff that could overflow. */
function afterPrefix(prefix: Buffer): Buffer | undefined {
  const last = prefix.at(-1);
  return last === undefined ? undefined : Buffer.concat([prefix.subarray(0, -1), Buffer.from([last + 1])]);
}

export function createUpkeep(run: RunStep, sql: Statements, tables: Tables): Upkeep {
  function page(request: ListRequest): { sql: string; values: Value[] } {
    const prefix = Buffer.from(request.prefix);
    const end = afterPrefix(prefix);
    const conditions = ["l.ns=?", "l.k>=?"];
    const values: Value[] = [Buffer.from(request.namespace), prefix];
    const add = (condition: string, value: Value): void => {
      conditions.push(condition);
      values.push(value);
    };
    if (end !== undefined) add("l.k<?", end);
    if (request.after !== undefined) add("l.k>?", Buffer.from(request.after));
    if (request.state !== undefined) conditions.push(inState[request.state]);
    if (request.sealed !== undefined) add("l.sealed=?", request.sealed ? 1 : 0);
    return { sql: sql.list(conditions), values: [...values, request.limit] };
  }

  return {
    list: (request, options) =>
      run(options, async (session) => {
        const asked = page(request);
        const reads = (await session.read(asked.sql, asked.values)).map(readRow);
        // A row says itself that it comes from a primary; nothing at all must be asked for it.
        if (reads.length === 0) {
          for (const row of await session.read("SELECT @@global.read_only AS read_only", []))
            assertPrimary(row);
        }
        return reads.flatMap(({ record, nowUs }) =>
          record === null ? [] : [transitions.view(record, nowUs)],
        );
      }),

    prune: ({ limit }, options) =>
      run(options, async (session) => {
        const rows = await session.read(sql.purgeable, [limit]);
        if (rows.length === 0) return 0;
        const names = rows.flatMap((row) => [bytes(row, "ns"), bytes(row, "k")]);
        const { affectedRows } = await session.write(sql.prune(rows.length), names);
        return Math.min(affectedRows, rows.length); // The count has the rows of both tables.
      }),

    setup: (options) =>
      run(options, async (session) => {
        // CREATE TABLE IF NOT EXISTS needs the right to create, so it is sent only where a table is missing.
        for (const [index, table] of [tables.lease, tables.payload].entries()) {
          try {
            await session.read(`SELECT 1 FROM ${table} LIMIT 0`, []);
          } catch (error) {
            if (!isMissingTable(error)) throw error;
            await session.write(createTables(tables)[index] ?? "", []);
          }
        }
        const engines = await session.read(
          "SELECT TABLE_NAME AS name,ENGINE AS engine FROM information_schema.TABLES WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME IN (?,?)",
          [tables.lease, tables.payload].map((table) => Buffer.from(table.replaceAll("`", ""))),
        );
        for (const { name, engine } of engines) {
          if (String(engine) === "InnoDB") continue;
          throw new ConfigurationError(
            `The table ${String(name)} has the engine ${String(engine)}, which has no row locks and no transactions: ALTER TABLE ${String(name)} ENGINE=InnoDB.`,
          );
        }
      }),
  };
}
