/**
 * The design that two failures of idempotency libraries come from, small and on a table of PostgreSQL: a reader
 * classifies what it read before, and then writes without looking again. Twins of it show that the tests of `once`
 * can fail.
 */
import type pg from "pg";

export const flawedTable = `CREATE TABLE flawed (
  key text PRIMARY KEY, state text NOT NULL, deadline_ms bigint, response text)`;

interface Row {
  readonly state: string;
  readonly deadline_ms: string | null;
  readonly response: string | null;
}

export interface FlawedOptions {
  readonly pool: pg.Pool;
  /** `undefined`: nobody said how long a run may take, so no deadline is recorded. */
  readonly ttlMs: number | undefined;
  /** Between what it read and what it writes. */
  readonly pause?: () => Promise<void>;
}

export async function flawedOnce(
  { pool, ttlMs, pause = async () => {} }: FlawedOptions,
  key: string,
  work: () => Promise<string>,
): Promise<string> {
  const deadline = ttlMs === undefined ? null : Date.now() + ttlMs;
  const values = [key, deadline];
  const claimed = await pool.query(
    "INSERT INTO flawed VALUES ($1, 'running', $2) ON CONFLICT DO NOTHING RETURNING key",
    values,
  );
  if (claimed.rowCount === 0) {
    const { rows } = await pool.query<Row>("SELECT * FROM flawed WHERE key = $1", [key]);
    const [found] = rows;
    await pause();
    if (found?.state === "completed") return found.response ?? "";
    // A claim without a deadline is taken for an orphan, as is one whose deadline is over.
    const isOrphan =
      found === undefined || found.deadline_ms === null || Number(found.deadline_ms) < Date.now();
    if (!isOrphan) return "running";
    await pool.query("UPDATE flawed SET state = 'running', deadline_ms = $2 WHERE key = $1", values);
  }
  const response = await work();
  await pool.query("UPDATE flawed SET state = 'completed', response = $2 WHERE key = $1", [key, response]);
  return response;
}
