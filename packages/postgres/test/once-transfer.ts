/** A transfer between two accounts whose answer commits with it, step by step, for processes that die at each. */
import type { Execution } from "@coord/core";
import type pg from "pg";
import type { PostgresBackend } from "../src/index.ts";

/** Where a process may be killed, in order; `committing` is when the COMMIT was sent and not answered. */
export const points = [
  "claimed",
  "begun",
  "verified",
  "debited",
  "credited",
  "entered",
  "completed",
  "committing",
  "committed",
  "returned",
  "answered",
] as const;
export type Point = (typeof points)[number];

export interface Order {
  readonly id: string;
  readonly from: number;
  readonly to: number;
  readonly amount: number;
}
export interface TransferReceipt {
  readonly id: string;
  readonly amount: number;
}

export const schema = `
  CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
  CREATE TABLE entry (transfer text NOT NULL, amount int NOT NULL)`; // nothing unique: twice would be seen

interface Tools {
  readonly pool: pg.Pool;
  readonly backend: Pick<PostgresBackend, "within">;
  /** Whether the answer commits with the transfer. */
  readonly together: boolean;
  readonly step: (point: Point) => unknown;
}

export async function transfer(
  { id, from, to, amount }: Order,
  execution: Execution,
  { pool, backend, together, step }: Tools,
): Promise<TransferReceipt> {
  const receipt = { id, amount };
  await step("claimed");
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await step("begun");
    const within = backend.within(client);
    await within.verify(execution);
    await step("verified");
    await client.query("UPDATE account SET balance = balance - $1 WHERE id = $2", [amount, from]);
    await step("debited");
    await client.query("UPDATE account SET balance = balance + $1 WHERE id = $2", [amount, to]);
    await step("credited");
    await client.query("INSERT INTO entry VALUES ($1, $2)", [id, amount]);
    await step("entered");
    if (together) await execution.complete(receipt, { within });
    await step("completed");
    const committed = client.query("COMMIT");
    await step("committing");
    await committed;
    await step("committed");
    client.release();
    return receipt;
  } catch (error) {
    client.release(true); // which rolls it back
    throw error;
  }
}
