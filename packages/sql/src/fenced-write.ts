import { InvalidArgumentError, isCoordError, StaleFenceError } from "@coord/core";
import { tellingWrite, type WriteEvent } from "./events.ts";
import { assignments, type Columns, conditions, integer, quoteColumn, quoteTable } from "./identifiers.ts";
import type { Session } from "./types.ts";

/** What a write needs of a lease; a `Lease` of `@coord/core` is one. */
export interface Fenced {
  readonly key: string;
  readonly fence: bigint;
}

interface FenceColumn {
  /** A `bigint NOT NULL DEFAULT 0`. @default "fence" */
  readonly fenceColumn?: string | undefined;
}

export interface FencedUpdate extends FenceColumn {
  /** The key of the row, as in `{ id: 42 }`. */
  readonly where: Columns;
  /** The new values, without the fence. */
  readonly set: Columns;
}

export interface FencedUpsert extends FenceColumn {
  /** The columns of the primary or a unique key, with their values. */
  readonly key: Columns;
  /** The other values, without the fence. */
  readonly set: Columns;
}

function checkFence(lease: Fenced, set: Columns, fenceColumn: string): void {
  if (typeof lease.fence !== "bigint") {
    throw new InvalidArgumentError(
      `lease.fence must be a bigint, got ${typeof lease.fence}: pass the lease, or { key, fence }.`,
    );
  }
  if (Object.hasOwn(set, fenceColumn))
    throw new InvalidArgumentError(
      `set must not have the column ${fenceColumn}: the lease's fence goes there.`,
    );
}

function stale(lease: Fenced, table: string, stored: bigint | null | undefined): StaleFenceError {
  const found =
    stored === undefined
      ? "there is no such row"
      : stored === null
        ? "the row's fence is NULL, which is smaller than nothing: make the column NOT NULL DEFAULT 0"
        : `the row has fence ${stored}, so that a newer holder has written`;
  return new StaleFenceError(
    lease,
    `The write to ${table} under ${JSON.stringify(lease.key)} with fence ${lease.fence} was refused: ${found}. Stop, and let the transaction roll back.`,
  );
}

/** The row's fence as it is now; `undefined` where there is no row. */
async function storedFence(
  session: Session,
  table: string,
  where: Columns,
  fenceColumn: string,
): Promise<bigint | null | undefined> {
  const { dialect } = session;
  const condition = conditions(dialect, "where", where);
  const type = dialect === "postgres" ? "text" : "CHAR";
  const row = await session.fetchOne<{ fence: string | null }>(
    `SELECT CAST(${quoteColumn(dialect, fenceColumn)} AS ${type}) AS fence FROM ${quoteTable(dialect, table)} WHERE ${condition.sql} FOR UPDATE`,
    condition.values,
  );
  if (row === null) return undefined;
  return row.fence === null ? null : BigInt(row.fence);
}

const outcomeOf = (_: unknown, error: unknown): WriteEvent["outcome"] =>
  error === undefined ? "written" : isCoordError(error, "COORD_STALE_FENCE") ? "stale" : "failed";

async function update(session: Session, lease: Fenced, table: string, change: FencedUpdate): Promise<void> {
  const { dialect } = session;
  const { where, set, fenceColumn = "fence" } = change;
  checkFence(lease, set, fenceColumn);
  const key = conditions(dialect, "where", where);
  const values = assignments(dialect, set);
  const column = quoteColumn(dialect, fenceColumn);
  const fence = integer(dialect, "fence");
  const sets = [values.sql, `${column} = ${fence}`].filter((sql) => sql !== "").join(", ");
  const { affectedRows } = await session.execute(
    `UPDATE ${quoteTable(dialect, table)} SET ${sets} WHERE ${key.sql} AND ${column} <= ${fence}`,
    { ...values.values, ...key.values, fence: lease.fence },
  );
  if (affectedRows === 1) return;
  if (affectedRows > 1) {
    throw new InvalidArgumentError(
      `where must pick one row of ${table}, got ${affectedRows}: name the columns of its primary or a unique key.`,
    );
  }
  const stored = await storedFence(session, table, where, fenceColumn);
  // MySQL does not count a row that had these values already, unless the driver asks it to.
  if (dialect === "mysql" && stored === lease.fence) return;
  throw stale(lease, table, stored);
}

/**
 * Updates the row unless a newer fence than the lease's was written to it, and leaves the lease's fence there.
 *
 * @throws {StaleFenceError} a newer holder has written, or there is no such row.
 */
export function fencedUpdate(
  session: Session,
  lease: Fenced,
  table: string,
  change: FencedUpdate,
): Promise<void> {
  return tellingWrite(
    { kind: "fenced-update", dialect: session.dialect, table },
    () => update(session, lease, table, change),
    outcomeOf,
  );
}

async function upsert(session: Session, lease: Fenced, table: string, change: FencedUpsert): Promise<void> {
  const { dialect } = session;
  const { key, set, fenceColumn = "fence" } = change;
  checkFence(lease, { ...key, ...set }, fenceColumn);
  conditions(dialect, "key", key);
  const q = (name: string): string => quoteColumn(dialect, name);
  const keys = Object.keys(key);
  const row = { ...key, ...set };
  const columns = [...Object.keys(row), fenceColumn].map(q).join(", ");
  const places = [...Object.keys(row).map((_, i) => `:v${i}`), integer(dialect, "fence")].join(", ");
  const values = {
    ...Object.fromEntries(Object.values(row).map((value, i) => [`v${i}`, value])),
    fence: lease.fence,
  };
  const changed = [...Object.keys(set), fenceColumn];
  if (dialect === "postgres") {
    const sets = changed.map((name) => `${q(name)} = EXCLUDED.${q(name)}`).join(", ");
    const { affectedRows } = await session.execute(
      `INSERT INTO ${quoteTable(dialect, table)} AS target (${columns}) VALUES (${places})
      ON CONFLICT (${keys.map(q).join(", ")}) DO UPDATE SET ${sets} WHERE target.${q(fenceColumn)} <= EXCLUDED.${q(fenceColumn)}`,
      values,
    );
    if (affectedRows === 0) throw stale(lease, table, await storedFence(session, table, key, fenceColumn));
    return;
  }
  const insert = `INSERT INTO ${quoteTable(dialect, table)} (${columns}) VALUES (${places})`;
  // Any unique key's conflict leads here, so the row must be shown to be ours. The fence comes last: assignments are
  // made in order, and each condition reads it. VALUES(), as MariaDB lacks its successor.
  const isOurs = keys.map((name) => `${q(name)} = VALUES(${q(name)})`).join(" AND ");
  const isNewer = `${isOurs} AND ${q(fenceColumn)} <= VALUES(${q(fenceColumn)})`;
  const sets = changed
    .map((name) => `${q(name)} = IF(${isNewer}, VALUES(${q(name)}), ${q(name)})`)
    .join(", ");
  await session.execute(`${insert} ON DUPLICATE KEY UPDATE ${sets}`, values);
  // The count tells neither a refusal from a row that had these values, nor whose row it was.
  const stored = await storedFence(session, table, key, fenceColumn);
  if (stored === undefined) await session.execute(insert, values); // throws what was in the way: another unique key
  else if (stored !== lease.fence) throw stale(lease, table, stored);
}

/**
 * Inserts the row, or updates it unless a newer fence than the lease's was written to it; the lease's fence is there
 * afterwards. With a conflict of another unique key than `key`, the server's error surfaces.
 *
 * @throws {StaleFenceError} a newer holder has written.
 */
export function fencedUpsert(
  session: Session,
  lease: Fenced,
  table: string,
  change: FencedUpsert,
): Promise<void> {
  return tellingWrite(
    { kind: "fenced-upsert", dialect: session.dialect, table },
    () => upsert(session, lease, table, change),
    outcomeOf,
  );
}
