import { isCoordError } from "@coord/core";
import { startProxy } from "@coord/test-fixtures";
import { createPool as createCallbackPool } from "mysql2";
import pg from "pg";
import { describe, expect, it } from "vitest";
import {
  CommitUnknownError,
  type Isolation,
  RolledBackError,
  type Session,
  transaction,
} from "../src/index.ts";
import {
  accounts,
  balanceOf,
  caught,
  census,
  flavors,
  gate,
  startServers,
  openPool,
  until,
  useServer,
} from "./harness.ts";

const missing = await startServers(...flavors);

const boom = new Error("boom");

for (const flavor of flavors) {
  describe.skipIf(missing[flavor])(`a transaction on ${flavor} ${missing[flavor] ?? ""}`, () => {
    const at = useServer(flavor);

    it("commits when its function returns, and gives back what it returned", async () => {
      const table = await accounts(at.db);
      const value = await transaction(at.db.pool, async (session) => {
        const done = await session.execute(`UPDATE ${table} SET balance = balance + :by WHERE id = :id`, {
          by: 5,
          id: 1,
        });
        expect(done.affectedRows).toBe(1);
        return session.fetchOne<{ balance: number }>(`SELECT balance FROM ${table} WHERE id = :id`, {
          id: 1,
        });
      });
      expect(value).toEqual({ balance: 105 });
      expect(await balanceOf(at.db, table)).toBe(105);
      expect(census(at.db).free).toBe(census(at.db).total);
    });

    it("rolls back when its function throws, and rethrows the same error", async () => {
      const table = await accounts(at.db);
      const failing = transaction(at.db.pool, async (session) => {
        await session.execute(`UPDATE ${table} SET balance = 0`);
        throw boom;
      });
      expect(await caught(failing)).toBe(boom);
      expect(await balanceOf(at.db, table)).toBe(100);
      expect(census(at.db).free).toBe(census(at.db).total);
    });

    it("fetches all rows, one row, and null for none", async () => {
      const table = await accounts(at.db);
      await transaction(at.db.pool, async (session) => {
        const all = await session.fetchAll<{ id: number }>(
          `SELECT id FROM ${table} WHERE id > :id ORDER BY id`,
          { id: 3 },
        );
        expect(all.map(({ id }) => id)).toEqual([4, 5]);
        expect(await session.fetchOne(`SELECT id FROM ${table} WHERE id = :id`, { id: 99 })).toBeNull();
        const several = await caught(session.fetchOne(`SELECT id FROM ${table}`));
        expect(isCoordError(several, "COORD_INVALID_ARGUMENT")).toBe(true);
      });
    });

    it("takes parameters by position as well", async () => {
      const table = await accounts(at.db);
      const text = flavor === "postgres" ? "id = $2 AND balance = $1" : "balance = ? AND id = ?";
      const row = await transaction(at.db.pool, (session) =>
        session.fetchOne(`SELECT id FROM ${table} WHERE ${text}`, [100, 2]),
      );
      expect(row).toEqual({ id: 2 });
    });

    it("runs at the isolation that is asked for, and leaves none behind", async () => {
      const table = await accounts(at.db);
      const one = openPool(flavor, at.server.url, 1);
      const read = `SELECT balance FROM ${table} WHERE id = 1`;
      /** What a second read sees after somebody else committed a change. */
      const secondRead = (isolation?: Isolation): Promise<"old" | "new"> =>
        transaction(
          one.pool,
          async (session) => {
            const before = await session.fetchOne<{ balance: number }>(read);
            await at.db.query(`UPDATE ${table} SET balance = balance + 1 WHERE id = 1`);
            const after = await session.fetchOne<{ balance: number }>(read);
            return before?.balance === after?.balance ? "old" : "new";
          },
          { isolation },
        );
      const asDefault = flavor === "postgres" ? "new" : "old";
      expect(await secondRead("repeatable read")).toBe("old");
      expect(await secondRead()).toBe(asDefault);
      expect(await secondRead("read committed")).toBe("new");
      expect(await secondRead()).toBe(asDefault);
      await one.end();
    });

    it("says that the outcome is unknown when the answer to COMMIT is lost, and hangs up", async () => {
      const table = await accounts(at.db);
      const proxy = await startProxy(at.server.url);
      const one = openPool(flavor, proxy.url, 1);
      for (const ending of ["cut", "silence"] as const) {
        const lost = proxy.swallowReply({ ending, match: (chunk) => chunk.includes("COMMIT") });
        // Silence ends when somebody loses patience.
        const given = new AbortController();
        if (ending === "silence") void lost.done.then(() => given.abort());
        const error = await caught(
          transaction(
            one.pool,
            async (session) => {
              await session.execute(`UPDATE ${table} SET balance = balance + 1 WHERE id = 1`);
              return "done";
            },
            { signal: given.signal },
          ),
        );
        expect(error).toBeInstanceOf(CommitUnknownError);
        expect((error as CommitUnknownError).result).toBe("done");
        await lost.done;
        await proxy.heal();
      }
      // In truth both were committed, and the pool of one is of use again.
      await until("the commits are seen", async () => (await balanceOf(at.db, table)) === 102);
      expect(await transaction(one.pool, (session) => session.fetchOne("SELECT 1 AS one"))).toEqual({
        one: 1,
      });
      await one.end();
      await proxy.stop();
    });

    it("says that nothing happened when the connection breaks before COMMIT", async () => {
      const table = await accounts(at.db);
      const proxy = await startProxy(at.server.url);
      const one = openPool(flavor, proxy.url, 1);
      const error = await caught(
        transaction(one.pool, async (session) => {
          await session.execute(`UPDATE ${table} SET balance = 0 WHERE id = 1`);
          proxy.cut();
          await session.execute(`UPDATE ${table} SET balance = 0 WHERE id = 2`);
        }),
      );
      expect(error).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: true });
      // Also where the break comes while no statement runs, and before any answer to COMMIT could.
      const between = await caught(
        transaction(one.pool, async (session) => {
          await session.execute(`UPDATE ${table} SET balance = 0 WHERE id = 1`);
          await proxy.refuse();
        }),
      );
      expect(isCoordError(between)).toBe(true);
      await proxy.heal();
      await until("the locks are free", async () => {
        const [row] = await at.db.query(`SELECT balance FROM ${table} WHERE id = 1 FOR UPDATE`);
        return row?.["balance"] === 100;
      });
      await one.end();
      await proxy.stop();
    });

    it("refuses to be nested, to be used when it is over, and to be ended from within", async () => {
      const table = await accounts(at.db);
      let kept: Session | undefined;
      const nested = transaction(at.db.pool, async (session) => {
        kept = session;
        await transaction(at.db.pool, async () => {});
      });
      expect(isCoordError(await caught(nested), "COORD_REENTRANT")).toBe(true);
      expect(isCoordError(await caught(kept?.execute("SELECT 1") ?? Promise.resolve()), "COORD_CLOSED")).toBe(
        true,
      );
      for (const text of ["COMMIT", " rollback", "BEGIN", "start  transaction", "-- now\n/* and */ COMMIT"]) {
        const error = await caught(transaction(at.db.pool, (session) => session.execute(text)));
        expect(isCoordError(error, "COORD_INVALID_ARGUMENT")).toBe(true);
      }
      expect(await balanceOf(at.db, table)).toBe(100);
    });

    it("rolls back when a statement was not awaited", async () => {
      const table = await accounts(at.db);
      const error = await caught(
        transaction(at.db.pool, async (session) => {
          void session.execute(`UPDATE ${table} SET balance = 0 WHERE id = 1`);
        }),
      );
      expect(isCoordError(error, "COORD_INVALID_ARGUMENT")).toBe(true);
      expect(await balanceOf(at.db, table)).toBe(100);
    });

    it("is given up at its limit, or when its caller aborts, and then nothing of it stays", async () => {
      const table = await accounts(at.db);
      const one = openPool(flavor, at.server.url, 1);
      const never = new Promise<void>(() => {});
      const late = transaction(
        one.pool,
        async (session) => {
          await session.execute(`UPDATE ${table} SET balance = 0 WHERE id = 1`);
          await never;
        },
        { timeoutMs: 300 },
      );
      expect(await caught(late)).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: true });
      const controller = new AbortController();
      const aborted = transaction(
        one.pool,
        async (session) => {
          await session.execute(`UPDATE ${table} SET balance = 0 WHERE id = 1`);
          controller.abort(boom);
          await never;
        },
        { signal: controller.signal },
      );
      expect(await caught(aborted)).toBe(boom);
      expect(
        await transaction(one.pool, (session) =>
          session.fetchOne(`SELECT balance FROM ${table} WHERE id = 1`),
        ),
      ).toEqual({ balance: 100 });
      await one.end();
    });

    it("waits for a connection of a pool of one, but not for ever", async () => {
      const one = openPool(flavor, at.server.url, 1);
      const { opened, open } = gate();
      const first = transaction(one.pool, () => opened);
      const second = transaction(one.pool, async () => "second", { timeoutMs: 200 });
      expect(await caught(second)).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: true });
      const third = transaction(one.pool, async () => "third");
      open();
      await first;
      expect(await third).toBe("third");
      await until("all are free", () => census(one).free === census(one).total);
      expect(census(one).total).toBe(1);
      await one.end();
    });

    it("tells of a deadlock that it was rolled back as a whole, and does nothing more in it", async () => {
      const table = await accounts(at.db);
      const both = gate();
      let inside = 0;
      const told: unknown[] = [];
      const cross = (first: number, second: number): Promise<unknown> =>
        transaction(at.db.pool, async (session) => {
          await session.execute(`UPDATE ${table} SET balance = balance - 1 WHERE id = :id`, { id: first });
          if (++inside === 2) both.open();
          await both.opened;
          try {
            await session.execute(`UPDATE ${table} SET balance = balance + 1 WHERE id = :id`, { id: second });
          } catch (error) {
            told.push(error);
            // On MySQL, this would be committed by itself, as the transaction is gone.
            await session.execute(`UPDATE ${table} SET balance = 999 WHERE id = 3`).catch(() => {});
          }
        });
      const ends = await Promise.allSettled([cross(1, 2), cross(2, 1)]);
      const failed = ends.filter((end) => end.status === "rejected");
      expect(failed).toHaveLength(1);
      expect(failed[0]?.reason).toBeInstanceOf(RolledBackError);
      expect(told).toMatchObject([{ code: "COORD_ROLLED_BACK", reason: "deadlock" }]);
      expect(((await balanceOf(at.db, table, 1)) ?? 0) + ((await balanceOf(at.db, table, 2)) ?? 0)).toBe(200);
      expect(await balanceOf(at.db, table, 3)).toBe(100);
    });
  });
}

describe.skipIf(missing.postgres)("a transaction on PostgreSQL", () => {
  const at = useServer("postgres");

  it("does not call it committed when COMMIT was answered with ROLLBACK", async () => {
    const table = await accounts(at.db);
    const error = await caught(
      transaction(at.db.pool, async (session) => {
        await session.execute(`UPDATE ${table} SET balance = 0 WHERE id = 1`);
        await session.execute("SELECT 1 / 0").catch(() => {});
      }),
    );
    expect(error).toMatchObject({ code: "COORD_ROLLED_BACK", reason: "failed" });
    expect(await balanceOf(at.db, table)).toBe(100);
  });

  it("believes the answer to COMMIT also where something failed that it has not seen", async () => {
    const table = await accounts(at.db);
    const pool = new pg.Pool({ connectionString: at.server.url });
    const clients: pg.PoolClient[] = [];
    pool.on("acquire", (client) => clients.push(client));
    const error = await caught(
      transaction(pool, async (session) => {
        await session.execute(`UPDATE ${table} SET balance = 0 WHERE id = 1`);
        await clients[0]?.query("SELECT 1 / 0").catch(() => {});
      }),
    );
    expect(error).toMatchObject({ code: "COORD_ROLLED_BACK", reason: "failed" });
    await pool.end();
  });

  it("goes on after a statement that failed behind a savepoint", async () => {
    const table = await accounts(at.db);
    await transaction(at.db.pool, async (session) => {
      await session.execute(`UPDATE ${table} SET balance = 50 WHERE id = 1`);
      await session.execute("SAVEPOINT here");
      await session.execute("SELECT 1 / 0").catch(() => {});
      await session.execute("ROLLBACK TO SAVEPOINT here");
      await session.execute(`UPDATE ${table} SET balance = 51 WHERE id = 2`);
    });
    expect([await balanceOf(at.db, table, 1), await balanceOf(at.db, table, 2)]).toEqual([50, 51]);
  });

  it("tells of a serialization failure, also one that COMMIT answers with", async () => {
    const table = await accounts(at.db);
    const both = gate();
    let inside = 0;
    // Each reads both and takes from one: together they would break what each has checked.
    const withdraw = (id: number): Promise<unknown> =>
      transaction(
        at.db.pool,
        async (session) => {
          await session.fetchAll(`SELECT balance FROM ${table} WHERE id IN (1, 2)`);
          if (++inside === 2) both.open();
          await both.opened;
          await session.execute(`UPDATE ${table} SET balance = balance - 150 WHERE id = :id`, { id });
        },
        { isolation: "serializable" },
      );
    const ends = await Promise.allSettled([withdraw(1), withdraw(2)]);
    const failed = ends.filter((end) => end.status === "rejected");
    expect(failed).toHaveLength(1);
    expect(failed[0]?.reason).toMatchObject({ code: "COORD_ROLLED_BACK", reason: "serialization" });
  });

  it("lets a deferred constraint's error out, and keeps the connection", async () => {
    const table = await accounts(at.db);
    const one = openPool("postgres", at.server.url, 1);
    await one.query(`ALTER TABLE ${table} ADD CONSTRAINT u UNIQUE (note) DEFERRABLE INITIALLY DEFERRED`);
    const error = await caught(
      transaction(one.pool, (session) => session.execute(`UPDATE ${table} SET note = 'x' WHERE id < 3`)),
    );
    expect(error).toMatchObject({ code: "23505" });
    expect(census(one)).toEqual({ total: 1, free: 1 });
    await one.end();
  });

  it("keeps a connection that breaks in the pool from ending the process", async () => {
    const proxy = await startProxy(at.server.url);
    const pool = new pg.Pool({ connectionString: proxy.url }); // nobody listens for its errors
    await transaction(pool, (session) => session.execute("SELECT 1"));
    expect(pool.idleCount).toBe(1);
    proxy.cut();
    await until("the pool has noticed", () => pool.totalCount === 0);
    expect(await transaction(pool, (session) => session.fetchOne("SELECT 1 AS one"))).toEqual({ one: 1 });
    await pool.end();
    await proxy.stop();
  });

  it("refuses several statements in one text", async () => {
    const table = await accounts(at.db);
    const error = await caught(
      transaction(at.db.pool, (session) => session.execute(`UPDATE ${table} SET balance = 0; COMMIT`)),
    );
    expect(error).toMatchObject({ code: "42601" });
    expect(await balanceOf(at.db, table)).toBe(100);
  });
});

describe.skipIf(missing.mysql)("a transaction on MySQL", () => {
  const at = useServer("mysql");

  it("finds out that DDL has committed it, and does nothing more", async () => {
    const table = await accounts(at.db);
    const error = await caught(
      transaction(at.db.pool, async (session) => {
        await session.execute(`UPDATE ${table} SET balance = 1 WHERE id = 1`);
        await session.execute(`ALTER TABLE ${table} ADD COLUMN extra int`).catch(() => {});
        await session.execute(`UPDATE ${table} SET balance = 2 WHERE id = 2`);
      }),
    );
    expect(isCoordError(error, "COORD_ROLLED_BACK")).toBe(true);
    expect(error).toMatchObject({ cause: { code: "COORD_INVALID_ARGUMENT" } });
    expect(await balanceOf(at.db, table, 2)).toBe(100);
  });

  it("takes a pool with callbacks, and knows it again behind its promises", async () => {
    const pool = createCallbackPool({ uri: at.server.url, connectionLimit: 2 });
    expect(await transaction(pool, (session) => session.fetchOne("SELECT 1 AS one"))).toEqual({ one: 1 });
    const nested = transaction(pool, () => transaction(pool.promise(), async () => {}));
    expect(isCoordError(await caught(nested), "COORD_REENTRANT")).toBe(true);
    await new Promise((resolve) => pool.end(resolve));
  });

  it("takes texts as they are, whatever the session's sql_mode says of backslashes", async () => {
    const table = await accounts(at.db);
    await at.db.query("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'");
    const other = openPool("mysql", at.server.url, 1);
    const note = "\\' OR 1 = 1 -- ";
    await transaction(other.pool, (session) =>
      session.execute(`UPDATE ${table} SET note = :note WHERE id = :id`, { note, id: 1 }),
    );
    expect(await at.db.query(`SELECT id, note FROM ${table} WHERE note IS NOT NULL`)).toEqual([
      { id: 1, note },
    ]);
    await other.end();
  });
});
