import type { Pool } from "pg";

/** The resource that the lease protects. */
export interface Account {
  read(): Promise<number>;
  /**
   * Stores the balance and answers how many rows it changed. With a fence only if no newer holder wrote
   * before: that is all a resource needs to do.
   */
  write(balance: number, fence: bigint | null): Promise<number>;
}

/** The account in this process, for stores that are no database of accounts. */
export function localAccount(start: number): Account {
  let balance = start;
  let highestFence = 0n;
  return {
    read: async () => balance,
    write: async (next, fence) => {
      if (fence !== null && fence < highestFence) return 0;
      if (fence !== null) highestFence = fence;
      balance = next;
      return 1;
    },
  };
}

/** The account as a row of PostgreSQL. */
export function postgresAccount(pool: Pool): Account {
  return {
    async read() {
      const { rows } = await pool.query<{ balance: number }>("SELECT balance FROM demo_account WHERE id = 1");
      return rows[0]?.balance ?? 0;
    },
    async write(balance, fence) {
      const { rowCount } =
        fence === null
          ? await pool.query("UPDATE demo_account SET balance = $1 WHERE id = 1", [balance])
          : await pool.query(
              "UPDATE demo_account SET balance = $1, fence = $2 WHERE id = 1 AND fence <= $2",
              [balance, fence],
            );
      return rowCount ?? 0;
    },
  };
}

export async function createPostgresAccount(pool: Pool, start: number): Promise<void> {
  await pool.query(
    "CREATE TABLE IF NOT EXISTS demo_account (id int PRIMARY KEY, balance int NOT NULL, fence bigint NOT NULL DEFAULT 0)",
  );
  await pool.query(
    "INSERT INTO demo_account (id, balance) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET balance = $1, fence = 0",
    [start],
  );
}
