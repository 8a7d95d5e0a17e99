import { isCoordError } from "@coord/core";
import { startPgBouncer, startProxy } from "@coord/test-fixtures";
import { describe, expect, it } from "vitest";
import { advisoryLock, lockRow, LockLostError, LockTimeoutError, transaction } from "../src/index.ts";
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

for (const flavor of flavors) {
  describe.skipIf(missing[flavor])(`lockRow on ${flavor} ${missing[flavor] ?? ""}`, () => {
    const at = useServer(flavor);

    /** Holds row 1 until the gate opens. */
    async function holdRow(table: string): Promise<{ free(): Promise<void> }> {
      const held = gate();
      const done = gate();
      const holding = transaction(at.db.pool, async (session) => {
        await lockRow(session, table, { id: 1 });
        held.open();
        await done.opened;
        await session.execute(`UPDATE ${table} SET balance = 7 WHERE id = 1`);
      });
      await held.opened;
      return {
        free: async () => {
          done.open();
          await holding;
        },
      };
    }

    it("returns the row, and null where there is none", async () => {
      const table = await accounts(at.db);
      await transaction(at.db.pool, async (session) => {
        expect(await lockRow(session, table, { id: 2 })).toMatchObject({ id: 2, balance: 100 });
        expect(await lockRow(session, table, { id: 99 })).toBeNull();
      });
    });

    it("waits, and then returns the row as the other left it, whatever was read before", async () => {
      const table = await accounts(at.db);
      const other = await holdRow(table);
      const order: string[] = [];
      const second = transaction(
        at.db.pool,
        async (session) => {
          await session.fetchOne(`SELECT balance FROM ${table} WHERE id = 1`);
          order.push("asks");
          const row = await lockRow<{ balance: number }>(session, table, { id: 1 });
          order.push("has it");
          return row?.balance;
        },
        { isolation: "read committed" },
      );
      await until("it has asked", () => order.length === 1);
      order.push("other ends");
      await other.free();
      expect(await second).toBe(7);
      expect(order).toEqual(["asks", "other ends", "has it"]);
    });

    it("above read committed, either returns the row as it is now or has the transaction begun again", async () => {
      const table = await accounts(at.db);
      const stale = transaction(
        at.db.pool,
        async (session) => {
          await session.fetchOne(`SELECT balance FROM ${table} WHERE id = 1`);
          await at.db.query(`UPDATE ${table} SET balance = 7 WHERE id = 1`);
          return lockRow<{ balance: number }>(session, table, { id: 1 });
        },
        { isolation: "repeatable read" },
      );
      const end = await stale.catch((error: unknown) => error);
      // Only MySQL reads past its own snapshot.
      expect(end).toMatchObject(
        flavor === "mysql" ? { balance: 7 } : { code: "COORD_ROLLED_BACK", reason: "serialization" },
      );
    });

    it("throws at once with nowait, in time with timeoutMs, and takes another row with skipLocked", async () => {
      const table = await accounts(at.db);
      const other = await holdRow(table);
      const tryWith = (options: Parameters<typeof lockRow>[3]): Promise<unknown> =>
        caught(transaction(at.db.pool, (session) => lockRow(session, table, { id: 1 }, options)));
      const atOnce = await tryWith({ mode: "nowait" });
      expect(atOnce).toMatchObject({ code: "COORD_LOCK_TIMEOUT", lock: table });
      const late = await tryWith({ timeoutMs: 300 });
      expect(late).toBeInstanceOf(LockTimeoutError);
      expect((late as LockTimeoutError).waitedMs).toBeGreaterThanOrEqual(299);
      expect((late as LockTimeoutError).waitedMs).toBeLessThan(20_000);
      await transaction(at.db.pool, async (session) => {
        expect(await lockRow(session, table, { id: 1 }, { mode: "skipLocked" })).toBeNull();
        const free = await lockRow(session, table, { balance: 100 }, { mode: "skipLocked" });
        expect(free?.["id"]).not.toBe(1);
      });
      await other.free();
      expect(await balanceOf(at.db, table)).toBe(7);
      expect(census(at.db).free).toBe(census(at.db).total);
    });

    it("limits only itself: the next statement waits as long as it would have", async () => {
      const table = await accounts(at.db);
      const one = openPool(flavor, at.server.url, 1);
      const other = await holdRow(table);
      const order: string[] = [];
      const waiting = transaction(one.pool, async (session) => {
        await lockRow(session, table, { id: 2 }, { timeoutMs: 100 });
        order.push("asks");
        await session.execute(`UPDATE ${table} SET balance = balance + 1 WHERE id = 1`);
      });
      await until("it has asked", () => order.length === 1);
      await new Promise((resolve) => setTimeout(resolve, 400)); // four times the limit of the lock before
      await other.free();
      await waiting;
      expect(await balanceOf(at.db, table)).toBe(8);
      await one.end();
    });

    it("lets nothing more happen in a transaction whose lock was not free, even if the error is swallowed", async () => {
      const table = await accounts(at.db);
      const other = await holdRow(table);
      const error = await caught(
        transaction(at.db.pool, async (session) => {
          await session.execute(`UPDATE ${table} SET balance = 0 WHERE id = 2`);
          await lockRow(session, table, { id: 1 }, { mode: "nowait" }).catch(() => {});
        }),
      );
      expect(error).toMatchObject({ code: "COORD_ROLLED_BACK", reason: "failed" });
      await other.free();
      expect(await balanceOf(at.db, table, 2)).toBe(100);
    });

    it("refuses what picks no single row, and names that are none", async () => {
      const table = await accounts(at.db);
      const refused = async (where: Record<string, never>, name = table, options = {}): Promise<boolean> =>
        isCoordError(
          await caught(transaction(at.db.pool, (session) => lockRow(session, name, where, options))),
          "COORD_INVALID_ARGUMENT",
        );
      expect(await refused({ balance: 100 as never })).toBe(true);
      expect(await refused({})).toBe(true);
      expect(await refused({ id: null as never })).toBe(true);
      expect(await refused({ "id = 1 OR 1": 1 as never })).toBe(true);
      expect(await refused({ id: 1 as never }, `${table}; DROP TABLE ${table}`)).toBe(true);
      expect(await refused({ id: 1 as never }, table, { mode: "nowait", timeoutMs: 5 })).toBe(true);
      expect(await refused({ id: 1 as never }, table, { mode: "hasty" })).toBe(true);
      expect(await refused({ id: 1 as never }, table, { timeoutMs: 0 })).toBe(true);
    });
  });

  describe.skipIf(missing[flavor])(`advisoryLock on ${flavor} ${missing[flavor] ?? ""}`, () => {
    const at = useServer(flavor);

    it("is held by one at a time, and is free again afterwards, whether its function returns or throws", async () => {
      const log: string[] = [];
      const boom = new Error("boom");
      const work = (id: string): Promise<string> =>
        advisoryLock(at.db.pool, "report", async ({ name, signal }) => {
          expect(name).toBe("report");
          log.push(`${id} in`);
          await new Promise((resolve) => setTimeout(resolve, 30));
          expect(signal.aborted).toBe(false);
          log.push(`${id} out`);
          return id;
        });
      expect((await Promise.all([work("a"), work("b"), work("c")])).toSorted()).toEqual(["a", "b", "c"]);
      for (let i = 0; i < log.length; i += 2) expect(log[i]?.at(0)).toBe(log[i + 1]?.at(0));
      const failing = advisoryLock(at.db.pool, "report", () => Promise.reject(boom));
      expect(await caught(failing)).toBe(boom);
      expect(await advisoryLock(at.db.pool, "report", async () => "free", { timeoutMs: 0 })).toBe("free");
      expect(census(at.db).free).toBe(census(at.db).total);
    });

    it("is not kept by the connection that goes back to the pool", async () => {
      const one = openPool(flavor, at.server.url, 1);
      await advisoryLock(one.pool, "kept", async () => {});
      expect(census(one)).toEqual({ total: 1, free: 1 });
      // Another process would be another connection: the first one is idle in its pool all the while.
      expect(await advisoryLock(at.db.pool, "kept", async () => true, { timeoutMs: 0 })).toBe(true);
      await one.end();
    });

    it("throws a LockTimeoutError when it is not free in time", async () => {
      const done = gate();
      const held = gate();
      const holding = advisoryLock(at.db.pool, "busy", async () => {
        held.open();
        await done.opened;
      });
      await held.opened;
      for (const timeoutMs of [0, 200, 1100]) {
        const error = await caught(advisoryLock(at.db.pool, "busy", async () => {}, { timeoutMs }));
        expect(error).toMatchObject({ code: "COORD_LOCK_TIMEOUT", lock: "busy" });
        expect((error as LockTimeoutError).waitedMs).toBeGreaterThanOrEqual(timeoutMs - 1);
      }
      // Names are told apart by every letter, and other names are free.
      expect(await advisoryLock(at.db.pool, "Busy", async () => true, { timeoutMs: 0 })).toBe(true);
      done.open();
      await holding;
      expect(census(at.db).free).toBe(census(at.db).total);
    });

    it("ends its wait when the caller aborts, and gets no lock late", async () => {
      const done = gate();
      const held = gate();
      const holding = advisoryLock(at.db.pool, "aborted", async () => {
        held.open();
        await done.opened;
      });
      await held.opened;
      const reason = new Error("enough");
      const controller = new AbortController();
      const waiting = caught(
        advisoryLock(at.db.pool, "aborted", async () => {}, { signal: controller.signal }),
      );
      await new Promise((resolve) => setTimeout(resolve, 50));
      controller.abort(reason);
      expect(await waiting).toBe(reason);
      done.open();
      await holding;
      expect(await advisoryLock(at.db.pool, "aborted", async () => "mine")).toBe("mine");
    });

    it("says so when its connection breaks while it is held, at once and at the end", async () => {
      const proxy = await startProxy(at.server.url);
      const one = openPool(flavor, proxy.url, 1);
      const error = await caught(
        advisoryLock(one.pool, "cut", async ({ signal }) => {
          proxy.cut();
          await until("the signal aborts", () => signal.aborted);
          expect(signal.reason).toBeInstanceOf(LockLostError);
          return "result";
        }),
      );
      expect(error).toBeInstanceOf(LockLostError);
      expect((error as LockLostError).result).toBe("result");
      // The server has noticed: somebody else gets it; and the pool has rid itself of the connection.
      expect(await advisoryLock(at.db.pool, "cut", async () => true)).toBe(true);
      expect(await advisoryLock(one.pool, "cut", async () => true)).toBe(true);
      await one.end();
      await proxy.stop();
    });

    it("cuts the connection when the answer to the release is lost", async () => {
      const proxy = await startProxy(at.server.url);
      const one = openPool(flavor, proxy.url, 1);
      const unlock = (chunk: Buffer): boolean =>
        /advisory_unlock|RELEASE_LOCK/.test(chunk.toString("latin1"));
      proxy.swallowReply({ match: unlock });
      const error = await caught(advisoryLock(one.pool, "unsure", async () => "result"));
      expect(error).toMatchObject({ code: "COORD_LOCK_LOST", result: "result" });
      await proxy.heal();
      expect(await advisoryLock(at.db.pool, "unsure", async () => true)).toBe(true);
      expect(await transaction(one.pool, (session) => session.fetchOne("SELECT 1 AS one"))).toEqual({
        one: 1,
      });
      await one.end();
      await proxy.stop();
    });

    it("finds out that it would wait for itself", async () => {
      const one = openPool(flavor, at.server.url, 1);
      const reentrant = async (work: Promise<unknown>): Promise<boolean> =>
        isCoordError(await caught(work), "COORD_REENTRANT");
      const inside = (work: () => Promise<unknown>, pool = at.db.pool): Promise<unknown> =>
        advisoryLock(pool, "outer", work);
      expect(await reentrant(inside(() => advisoryLock(at.db.pool, "outer", async () => {})))).toBe(true);
      expect(await reentrant(inside(() => transaction(one.pool, async () => {}), one.pool))).toBe(true);
      const around = transaction(at.db.pool, () => advisoryLock(at.db.pool, "late", async () => {}));
      expect(await reentrant(around)).toBe(true);
      // The right way round, and two locks of different names.
      const right = inside(() => transaction(at.db.pool, async () => "done"));
      expect(await right).toBe("done");
      expect(await inside(() => advisoryLock(at.db.pool, "inner", async () => "both"))).toBe("both");
      await one.end();
    });
  });
}

describe.skipIf(missing.mysql)("advisoryLock on MySQL", () => {
  const at = useServer("mysql");

  it("belongs to the database, as it does on PostgreSQL", async () => {
    await at.db.query("CREATE DATABASE elsewhere");
    const url = new URL(at.server.url);
    url.pathname = "/elsewhere";
    const other = openPool("mysql", url.href, 2);
    const both = await advisoryLock(at.db.pool, "same", () =>
      advisoryLock(other.pool, "same", async () => "both", { timeoutMs: 0 }),
    );
    expect(both).toBe("both");
    await other.end();
  });
});

describe.skipIf(missing.postgres)("advisoryLock behind PgBouncer", () => {
  const at = useServer("postgres");

  for (const poolMode of ["transaction", "session"] as const) {
    it(`is refused in ${poolMode} mode, before anything is locked`, async () => {
      const bouncer = await startPgBouncer(at.server.url, { poolMode });
      const through = openPool("postgres", bouncer.url, 2);
      const error = await caught(advisoryLock(through.pool, "pooled", async () => {}));
      expect(isCoordError(error, "COORD_CONFIGURATION")).toBe(true);
      expect(await advisoryLock(at.db.pool, "pooled", async () => true, { timeoutMs: 0 })).toBe(true);
      expect(await transaction(through.pool, (session) => session.fetchOne("SELECT 1 AS one"))).toEqual({
        one: 1,
      });
      await through.end();
      await bouncer.stop();
    });
  }
});
