import { createCoordinator, isCoordError, memoryBackend, StaleFenceError } from "@coord/core";
import { describe, expect, it } from "vitest";
import {
  ConflictError,
  type Fenced,
  fencedUpdate,
  fencedUpsert,
  insertIdempotent,
  occUpdate,
  transaction,
  withOccRetry,
} from "../src/index.ts";
import {
  accounts,
  balanceOf,
  caught,
  flavors,
  freshTable,
  gate,
  startServers,
  until,
  useServer,
} from "./harness.ts";

const missing = await startServers(...flavors);

interface Account {
  readonly balance: number;
  readonly version: string | number;
}

for (const flavor of flavors) {
  describe.skipIf(missing[flavor])(`occUpdate on ${flavor} ${missing[flavor] ?? ""}`, () => {
    const at = useServer(flavor);
    const read = (table: string): string => `SELECT balance, version FROM ${table} WHERE id = 1`;

    it("writes the row that still has the version that was read, and counts it up", async () => {
      const table = await accounts(at.db);
      const versions = await transaction(at.db.pool, async (session) => {
        const row = await session.fetchOne<Account>(read(table));
        const first = await occUpdate(session, table, {
          where: { id: 1 },
          version: row?.version ?? 0,
          set: { balance: 50, note: "it's" },
        });
        return [first, await occUpdate(session, table, { where: { id: 1 }, version: first, set: {} })];
      });
      expect(versions).toEqual([2n, 3n]);
      expect(
        await at.db.query(
          `SELECT balance, note, CAST(version AS char(5)) AS version FROM ${table} WHERE id = 1`,
        ),
      ).toMatchObject([{ balance: 50, note: "it's" }]);
    });

    it("throws on another version and on a missing row, and nothing of the transaction stays", async () => {
      const table = await accounts(at.db);
      for (const [id, version] of [
        [1, 2],
        [99, 1],
      ] as const) {
        const error = await caught(
          transaction(at.db.pool, async (session) => {
            await session.execute(`UPDATE ${table} SET balance = 0 WHERE id = 2`);
            await occUpdate(session, table, { where: { id }, version, set: { balance: 1 } });
          }),
        );
        expect(error).toBeInstanceOf(ConflictError);
        expect(error).toMatchObject({ code: "COORD_CONFLICT", table });
      }
      expect(await balanceOf(at.db, table, 2)).toBe(100);
    });

    it("compares versions beyond 2^53 exactly", async () => {
      const table = await accounts(at.db);
      const large = 2n ** 53n + 1n;
      await at.db.query(`UPDATE ${table} SET version = ${large} WHERE id = 1`);
      const write = (version: bigint): Promise<bigint> =>
        transaction(at.db.pool, (session) =>
          occUpdate(session, table, { where: { id: 1 }, version, set: {} }),
        );
      expect(await caught(write(large - 1n))).toBeInstanceOf(ConflictError);
      expect(await write(large)).toBe(large + 1n);
    });

    it("refuses a version that is none, one in the values, and a condition that picks several rows", async () => {
      const table = await accounts(at.db);
      const changes = [
        { where: { id: 1 }, version: 1.5, set: {} },
        { where: { id: 1 }, version: undefined as never, set: {} },
        { where: { id: 1 }, version: 1, set: { version: 7 } },
        { where: { balance: 100 }, version: 1, set: { note: "x" } },
        { where: { id: 1 }, version: 1, set: { "note = 'x', balance": 0 } },
      ];
      for (const change of changes) {
        const error = await caught(transaction(at.db.pool, (session) => occUpdate(session, table, change)));
        expect(isCoordError(error, "COORD_INVALID_ARGUMENT")).toBe(true);
      }
      expect(await at.db.query(`SELECT id FROM ${table} WHERE note IS NOT NULL`)).toEqual([]);
    });

    it("withOccRetry reads again in a new transaction, until it gets through", async () => {
      const table = await accounts(at.db);
      const seen: number[] = [];
      const result = await withOccRetry(at.db.pool, async (session) => {
        const row = await session.fetchOne<Account>(read(table));
        if (row === null) throw new Error("no row");
        seen.push(row.balance);
        // Somebody else is quicker twice.
        if (seen.length < 3)
          await at.db.query(`UPDATE ${table} SET balance = balance + 10, version = version + 1 WHERE id = 1`);
        await occUpdate(session, table, {
          where: { id: 1 },
          version: row.version,
          set: { balance: row.balance + 1 },
        });
        return "through";
      });
      expect(result).toBe("through");
      expect(seen).toEqual([100, 110, 120]);
      expect(await balanceOf(at.db, table)).toBe(121);
    });

    it("withOccRetry gives up after its attempts, and repeats nothing else", async () => {
      const table = await accounts(at.db);
      let runs = 0;
      const hopeless = withOccRetry(
        at.db.pool,
        async (session) => {
          runs++;
          await occUpdate(session, table, { where: { id: 1 }, version: 99, set: {} });
        },
        { attempts: 3, firstPauseMs: 1 },
      );
      expect(await caught(hopeless)).toMatchObject({ code: "COORD_CONFLICT", attempts: 3, table });
      expect(runs).toBe(3);
      const boom = new Error("boom");
      const failing = withOccRetry(at.db.pool, async () => {
        runs++;
        throw boom;
      });
      expect(await caught(failing)).toBe(boom);
      expect(runs).toBe(4);
    });

    it("withOccRetry runs the loser of a deadlock again", async () => {
      const table = await accounts(at.db);
      const both = gate();
      let inside = 0;
      const cross = (first: number, second: number): Promise<void> =>
        withOccRetry(at.db.pool, async (session) => {
          await session.execute(`UPDATE ${table} SET balance = balance - 1 WHERE id = :id`, { id: first });
          if (++inside === 2) both.open();
          await both.opened;
          await session.execute(`UPDATE ${table} SET balance = balance + 1 WHERE id = :id`, { id: second });
        });
      await Promise.all([cross(1, 2), cross(2, 1)]);
      expect(inside).toBe(3);
      expect([await balanceOf(at.db, table, 1), await balanceOf(at.db, table, 2)]).toEqual([100, 100]);
    });
  });

  describe.skipIf(missing[flavor])(`insertIdempotent on ${flavor} ${missing[flavor] ?? ""}`, () => {
    const at = useServer(flavor);

    async function payments(): Promise<string> {
      const table = freshTable();
      await at.db.query(
        `CREATE TABLE ${table} (id int PRIMARY KEY, request varchar(40) NOT NULL UNIQUE, account int NOT NULL, amount int, UNIQUE (account, amount), CHECK (amount > 0))`,
      );
      return table;
    }
    const insert = (table: string, values: Record<string, string | number | null>, key = ["request"]) =>
      transaction(at.db.pool, (session) => insertIdempotent(session, table, values, { key }));

    it("inserts once, and then says that the row exists, and leaves it as it is", async () => {
      const table = await payments();
      expect(await insert(table, { id: 1, request: "a", account: 1, amount: 5 })).toBe("inserted");
      expect(await insert(table, { id: 2, request: "a", account: 2, amount: 6 })).toBe("exists");
      expect(await insert(table, { id: 1, request: "a", account: 1, amount: 5 })).toBe("exists");
      const pair = ["amount", "account"];
      expect(await insert(table, { id: 3, request: "c", account: 1, amount: 5 }, pair)).toBe("exists");
      expect(await at.db.query(`SELECT id, amount FROM ${table}`)).toEqual([{ id: 1, amount: 5 }]);
    });

    it("lets every other error surface: another unique key, a check, a missing value", async () => {
      const table = await payments();
      await insert(table, { id: 1, request: "a", account: 1, amount: 5 });
      const postgres = flavor === "postgres";
      expect(await caught(insert(table, { id: 1, request: "b", account: 2, amount: 5 }))).toMatchObject(
        postgres ? { code: "23505" } : { errno: 1062 },
      );
      expect(await caught(insert(table, { id: 2, request: "b", account: 2, amount: -5 }))).toMatchObject(
        postgres ? { code: "23514" } : { errno: flavor === "mysql" ? 3819 : 4025 },
      );
      expect(await caught(insert(table, { id: 2, request: "b", account: null, amount: 5 }))).toMatchObject(
        postgres ? { code: "23502" } : { errno: 1048 },
      );
      expect(await at.db.query(`SELECT id FROM ${table}`)).toEqual([{ id: 1 }]);
    });

    it("refuses a key that is not unique, or has no value", async () => {
      const table = await payments();
      const unkeyed = await caught(
        insert(table, { id: 1, request: "a", account: 1, amount: 5 }, ["account"]),
      );
      expect(unkeyed).toMatchObject({ code: flavor === "postgres" ? "42P10" : "COORD_CONFIGURATION" });
      for (const key of [[], ["nothing"], ["amount", "account"]]) {
        const error = await caught(insert(table, { id: 1, request: "a", account: 1, amount: null }, key));
        expect(isCoordError(error, "COORD_INVALID_ARGUMENT")).toBe(true);
      }
      expect(await at.db.query(`SELECT id FROM ${table}`)).toEqual([]);
    });

    it("waits for an insert that is not committed yet, and goes by how it ends", async () => {
      for (const end of ["commit", "rollback"]) {
        const table = await payments();
        const held = gate();
        const done = gate();
        const order: string[] = [];
        const first = transaction(at.db.pool, async (session) => {
          await insertIdempotent(
            session,
            table,
            { id: 1, request: "a", account: 1, amount: 5 },
            { key: ["request"] },
          );
          held.open();
          await done.opened;
          order.push(end);
          if (end === "rollback") throw new Error("rollback");
        }).catch(() => {});
        await held.opened;
        const second = insert(table, { id: 2, request: "a", account: 2, amount: 6 }).then((outcome) => {
          order.push(outcome);
        });
        await new Promise((resolve) => setTimeout(resolve, 100));
        done.open();
        await Promise.all([first, second]);
        expect(order).toEqual([end, end === "commit" ? "exists" : "inserted"]);
      }
    });

    it("finds a row that was committed after this transaction first read", async () => {
      const table = await payments();
      const late = transaction(at.db.pool, async (session) => {
        await session.fetchAll(`SELECT id FROM ${table}`);
        await at.db.query(`INSERT INTO ${table} VALUES (1, 'a', 1, 5)`);
        const values = { id: 2, request: "a", account: 2, amount: 6 };
        return insertIdempotent(session, table, values, { key: ["request"] });
      });
      expect(await late).toBe("exists");
    });

    it("goes on in the same transaction after it found the row", async () => {
      const table = await payments();
      await insert(table, { id: 1, request: "a", account: 1, amount: 5 });
      await transaction(at.db.pool, async (session) => {
        await insertIdempotent(
          session,
          table,
          { id: 2, request: "a", account: 2, amount: 6 },
          { key: ["request"] },
        );
        await session.execute(`UPDATE ${table} SET amount = 9 WHERE id = 1`);
      });
      expect(await at.db.query(`SELECT amount FROM ${table}`)).toEqual([{ amount: 9 }]);
    });
  });

  describe.skipIf(missing[flavor])(`fenced writes on ${flavor} ${missing[flavor] ?? ""}`, () => {
    const at = useServer(flavor);
    const lease = (fence: bigint): { key: string; fence: bigint } => ({ key: "account:1", fence });
    const rows = (table: string): Promise<unknown> =>
      at.db
        .query(`SELECT balance, CAST(fence AS char(20)) AS fence FROM ${table} WHERE id IN (1, 9)`)
        .then((found) => found.map(({ balance, fence }) => [balance, String(fence).trim()]));

    it("fencedUpdate writes under the same or a newer fence, also twice, and never under an older one", async () => {
      const table = await accounts(at.db);
      const write = (fence: bigint, balance: number): Promise<void> =>
        transaction(at.db.pool, (session) =>
          fencedUpdate(session, lease(fence), table, { where: { id: 1 }, set: { balance } }),
        );
      const base = 2n ** 60n; // where doubles can't tell neighbours apart
      await write(base, 1);
      await write(base, 1);
      await write(base + 1n, 2);
      const error = await caught(write(base, 3));
      expect(error).toBeInstanceOf(StaleFenceError);
      expect(error).toMatchObject({ code: "COORD_STALE_FENCE", key: "account:1", fence: base });
      expect(await rows(table)).toEqual([[2, String(base + 1n)]]);
      const nowhere = transaction(at.db.pool, (session) =>
        fencedUpdate(session, lease(base), table, { where: { id: 99 }, set: { balance: 1 } }),
      );
      expect(await caught(nowhere)).toBeInstanceOf(StaleFenceError);
    });

    it("fencedUpsert inserts, updates, and refuses an older fence", async () => {
      const table = await accounts(at.db);
      const write = (fence: bigint, balance: number): Promise<void> =>
        transaction(at.db.pool, (session) =>
          fencedUpsert(session, lease(fence), table, { key: { id: 9 }, set: { balance } }),
        );
      const base = 2n ** 60n;
      await write(base, 1);
      await write(base, 2);
      await write(base, 2);
      await write(base + 1n, 3);
      expect(await caught(write(base, 4))).toBeInstanceOf(StaleFenceError);
      expect(await rows(table)).toEqual([
        [100, "0"],
        [3, String(base + 1n)],
      ]);
    });

    it("fencedUpsert changes no row but its own where another unique key conflicts", async () => {
      const table = freshTable();
      await at.db.query(
        `CREATE TABLE ${table} (id int PRIMARY KEY, name varchar(20) UNIQUE, fence bigint NOT NULL DEFAULT 0)`,
      );
      await at.db.query(`INSERT INTO ${table} (id, name) VALUES (1, 'taken')`);
      let error: unknown;
      // Swallowed, and on MySQL committed: then what it has changed would stay.
      await transaction(at.db.pool, async (session) => {
        error = await caught(
          fencedUpsert(session, lease(5n), table, { key: { id: 2 }, set: { name: "taken" } }),
        );
      }).catch(() => {});
      expect(error).toMatchObject(flavor === "postgres" ? { code: "23505" } : { errno: 1062 });
      expect(await at.db.query(`SELECT id, name, CAST(fence AS char(1)) AS fence FROM ${table}`)).toEqual([
        { id: 1, name: "taken", fence: "0" },
      ]);
    });

    it("a holder that lost its lease is refused once the next one has written", async () => {
      const table = await accounts(at.db);
      const coord = createCoordinator({ backend: memoryBackend(), namespace: "sql" });
      const write = (holder: Fenced, balance: number): Promise<void> =>
        transaction(at.db.pool, (session) =>
          fencedUpdate(session, holder, table, { where: { id: 1 }, set: { balance } }),
        );
      const first = await coord.acquire("account:1");
      await write(first, 1);
      // An operator frees it while the first is still at work.
      await coord.breakLease("account:1", { fence: first.fence, by: "test", now: true });
      await coord.withLease("account:1", (second) => write(second, 2));
      expect(await caught(write(first, 3))).toBeInstanceOf(StaleFenceError);
      expect(await balanceOf(at.db, table)).toBe(2);
      await coord.close({ graceMs: 0 }); // the first handle does not know yet
    });

    it("of two holders at once, the newer one's write stays, whoever comes first", async () => {
      for (const order of [
        [1n, 2n],
        [2n, 1n],
      ] as const) {
        const table = await accounts(at.db);
        const held = gate();
        const done = gate();
        const [first, second] = order;
        const write = (fence: bigint, before: () => Promise<void>): Promise<void> =>
          transaction(at.db.pool, async (session) => {
            await fencedUpdate(session, lease(fence), table, {
              where: { id: 1 },
              set: { balance: Number(fence) },
            });
            await before();
          });
        const one = write(first, async () => {
          held.open();
          await done.opened;
        });
        await held.opened;
        let settled = false;
        const two = write(second, async () => {})
          .catch((error: unknown) => error)
          .finally(() => {
            settled = true;
          });
        await new Promise((resolve) => setTimeout(resolve, 50));
        expect(settled).toBe(false);
        done.open();
        await one;
        await until("the second ends", () => settled);
        expect(await rows(table)).toEqual([[2, "2"]]);
        expect((await two) instanceof StaleFenceError).toBe(second === 1n);
      }
    });
  });
}
