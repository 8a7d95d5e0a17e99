import { StaleFenceError } from "@coord/core";
import { describe, expect, it } from "vitest";
import {
  ConflictError,
  fencedUpdate,
  fencedUpsert,
  insertIdempotent,
  lockRow,
  LockTimeoutError,
  occUpdate,
  RolledBackError,
  type Session,
  transaction,
} from "../src/index.ts";
import { accounts, balanceOf, caught, gate, startServers, useServer } from "./harness.ts";
import { orms } from "./orms.ts";

const missing = await startServers("postgres", "mysql");

/** Every tool, inside a transaction that a query builder or ORM began and ends. */

for (const flavor of ["postgres", "mysql"] as const) {
  describe.skipIf(missing[flavor])(`on ${flavor} ${missing[flavor] ?? ""}`, () => {
    const at = useServer(flavor);

    describe.each(Object.entries(orms))("in a transaction of %s", (_name, open) => {
      /** Opens the ORM, runs, and closes it. */
      async function using<T>(
        run: (within: <U>(work: (session: Session) => Promise<U>) => Promise<U>) => Promise<T>,
      ): Promise<T> {
        const orm = await open(flavor, at.server.url);
        try {
          return await run(orm.within);
        } finally {
          await orm.close();
        }
      }

      it("statements take parameters, give rows and counts, and belong to its transaction", async () => {
        const table = await accounts(at.db);
        const boom = new Error("boom");
        await using(async (within) => {
          await within(async (session) => {
            const done = await session.execute(
              `UPDATE ${table} SET balance = :balance, note = :note WHERE id IN (:one, :two)`,
              { balance: 7, note: "what? :x it's", one: 1, two: 2 },
            );
            expect(done.affectedRows).toBe(2);
            const row = await session.fetchOne(
              `SELECT id, note FROM ${table} WHERE note = :note AND id = :id`,
              {
                note: "what? :x it's",
                id: 1,
              },
            );
            expect(row).toMatchObject({ id: 1, note: "what? :x it's" });
            expect(
              await session.fetchOne(`SELECT id FROM ${table} WHERE note = 'what?' AND id = :id`, { id: 1 }),
            ).toBeNull();
            expect(await session.fetchAll(`SELECT id FROM ${table} WHERE balance = 7`)).toHaveLength(2);
            expect((await session.execute(`DELETE FROM ${table} WHERE id = 99`)).affectedRows).toBe(0);
          });
          expect(await balanceOf(at.db, table)).toBe(7);
          const failing = within(async (session) => {
            await session.execute(`UPDATE ${table} SET balance = 0`);
            throw boom;
          });
          expect(await caught(failing)).toBe(boom);
        });
        expect(await balanceOf(at.db, table)).toBe(7);
      });

      it("rows are locked, versions and fences compared, and inserts done once", async () => {
        const table = await accounts(at.db);
        const lease = (fence: bigint): { key: string; fence: bigint } => ({ key: "k", fence });
        await using(async (within) => {
          await within(async (session) => {
            const row = await lockRow<{ version: number }>(session, table, { id: 1 }, { timeoutMs: 5000 });
            const version = await occUpdate(session, table, {
              where: { id: 1 },
              version: String(row?.version),
              set: { balance: 1 },
            });
            expect(version).toBe(2n);
            await fencedUpdate(session, lease(5n), table, { where: { id: 2 }, set: { balance: 2 } });
            await fencedUpdate(session, lease(5n), table, { where: { id: 2 }, set: { balance: 2 } });
            await fencedUpsert(session, lease(5n), table, { key: { id: 6 }, set: { balance: 6 } });
            await fencedUpsert(session, lease(6n), table, { key: { id: 6 }, set: { balance: 66 } });
            const insert = { id: 7, balance: 7 };
            expect(await insertIdempotent(session, table, insert, { key: ["id"] })).toBe("inserted");
            expect(await insertIdempotent(session, table, insert, { key: ["id"] })).toBe("exists");
          });
          const conflict = within((session) =>
            occUpdate(session, table, { where: { id: 1 }, version: 1, set: { balance: 0 } }),
          );
          expect(await caught(conflict)).toBeInstanceOf(ConflictError);
          const stale = within((session) =>
            fencedUpdate(session, lease(4n), table, { where: { id: 2 }, set: { balance: 0 } }),
          );
          expect(await caught(stale)).toBeInstanceOf(StaleFenceError);
          const old = within((session) =>
            fencedUpsert(session, lease(5n), table, { key: { id: 6 }, set: { balance: 0 } }),
          );
          expect(await caught(old)).toBeInstanceOf(StaleFenceError);
        });
        const balances = await at.db.query(
          `SELECT balance FROM ${table} WHERE id IN (1, 2, 6, 7) ORDER BY id`,
        );
        expect(balances.map(({ balance }) => balance)).toEqual([1, 2, 66, 7]);
      });

      it("its errors are understood: a lock that is not free, and a deadlock", async () => {
        const table = await accounts(at.db);
        await using(async (within) => {
          const held = gate();
          const done = gate();
          const holding = transaction(at.db.pool, async (session) => {
            await lockRow(session, table, { id: 1 });
            held.open();
            await done.opened;
            // Waits for row 2, whose owner will come for row 1.
            await session.execute(`UPDATE ${table} SET balance = 5 WHERE id = 2`);
          }).catch((error: unknown) => error);
          await held.opened;
          for (const options of [{ mode: "nowait" }, { timeoutMs: 100 }] as const) {
            const refused = within((session) => lockRow(session, table, { id: 1 }, options));
            expect(await caught(refused)).toBeInstanceOf(LockTimeoutError);
          }
          const crossing = await within(async (session) => {
            await lockRow(session, table, { id: 2 });
            done.open();
            await lockRow(session, table, { id: 1 });
          }).catch((error: unknown) => error);
          const ends = [await holding, crossing].filter((end) => end !== undefined);
          expect(ends).toHaveLength(1);
          expect(ends[0]).toBeInstanceOf(RolledBackError);
        });
      });
    });
  });
}
