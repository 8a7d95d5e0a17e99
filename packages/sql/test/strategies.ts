/** The ways to add one to a balance, each with a moment between its read and its write at which others may come in. */
import {
  advisoryLock,
  lockRow,
  occUpdate,
  type Session,
  type SqlPool,
  transaction,
  withOccRetry,
} from "../src/index.ts";

export const strategies = ["unlocked", "atomic", "row lock", "advisory lock", "occ"] as const;
export type Strategy = (typeof strategies)[number];

interface Account {
  readonly balance: number;
  readonly version: string | number;
}

/** What happens between read and write. */
export type Between = (balance: number) => Promise<void>;

const must = (row: Account | null): Account => {
  if (row === null) throw new Error("no such account");
  return row;
};

/** Adds one to the balance of an account and commits. */
export async function addOne(
  pool: SqlPool,
  table: string,
  strategy: Strategy,
  between: Between,
  id = 1,
): Promise<void> {
  const read = async (session: Session): Promise<Account> =>
    must(await session.fetchOne<Account>(`SELECT balance, version FROM ${table} WHERE id = :id`, { id }));
  const write = (session: Session, balance: number): Promise<unknown> =>
    session.execute(`UPDATE ${table} SET balance = :balance WHERE id = :id`, { balance, id });
  /** Reads, is interrupted, writes. */
  const readAndWrite = async (session: Session): Promise<void> => {
    const { balance } = await read(session);
    await between(balance);
    await write(session, balance + 1);
  };
  switch (strategy) {
    case "unlocked":
      // Above it, PostgreSQL and MariaDB refuse the second write.
      return transaction(pool, readAndWrite, { isolation: "read committed" });
    case "atomic":
      return transaction(pool, async (session) => {
        await between(0);
        await session.execute(`UPDATE ${table} SET balance = balance + 1 WHERE id = :id`, { id });
      });
    case "row lock":
      return transaction(pool, async (session) => {
        const { balance } = must(await lockRow<Account>(session, table, { id }));
        await between(balance);
        await write(session, balance + 1);
      });
    case "advisory lock":
      return advisoryLock(pool, `${table}:${id}`, () => transaction(pool, readAndWrite), {
        timeoutMs: 30_000,
      });
    case "occ":
      return withOccRetry(
        pool,
        async (session) => {
          const { balance, version } = await read(session);
          await between(balance);
          await occUpdate(session, table, { where: { id }, version, set: { balance: balance + 1 } });
        },
        { attempts: 200, longestPauseMs: 50 },
      );
    default:
      throw new Error(`no such strategy: ${String(strategy)}`);
  }
}
