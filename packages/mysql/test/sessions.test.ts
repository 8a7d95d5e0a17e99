import type { Grant } from "@coord/core";
import { start } from "@coord/test-fixtures";
import { createPool as createCallbackPool } from "mysql2";
import type { Pool } from "mysql2/promise";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { mysqlBackend, schemaSql } from "../src/index.ts";
import {
  acquireRequest,
  call,
  flavors,
  freshName,
  onClock,
  poolOf,
  releaseRequest,
  rewriting,
} from "./harness.ts";
import { compareWithLaw } from "./model.ts";

/** A closed backend has sent nothing, and says so. */
const closed = { code: "COORD_UNAVAILABLE", notDone: true };

describe.each(flavors)("%s", async (flavor) => {
  const server = await start("mysql", { flavor });
  const direct = poolOf(server.url);
  const pools: Pool[] = [];
  await mysqlBackend({ client: direct, wake: false }).setup(call());
  afterEach(async () => {
    for (const pool of pools.splice(0)) await pool.end();
  });
  afterAll(async () => {
    await direct.end();
    await server.stop();
  });

  /** A pool whose sessions begin with these statements. */
  function poolWith(settings: Record<string, unknown>, ...statements: string[]): Pool {
    const pool = poolOf(server.url, { connectionLimit: 3, ...settings });
    for (const sql of statements) pool.on("connection", (connection) => void connection.query(sql));
    pools.push(pool);
    return pool;
  }

  const sessions: readonly [string, Record<string, unknown>, ...string[]][] = [
    ["with FOUND_ROWS", {}],
    ["without FOUND_ROWS", { flags: ["-FOUND_ROWS"] }],
    ["without strict mode", {}, "SET SESSION sql_mode=''"],
    [
      "with ANSI quotes, no backslash escapes and pipes that concatenate",
      {},
      "SET SESSION sql_mode='ANSI,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,NO_UNSIGNED_SUBTRACTION,PAD_CHAR_TO_FULL_LENGTH'",
    ],
    ["in a time zone of the east", { timezone: "+13:00" }, "SET SESSION time_zone='+13:00'"],
    ["in a time zone of the west", { timezone: "-11:00" }, "SET SESSION time_zone='-11:00'"],
    ["in latin1", { charset: "latin1" }],
    ["in gbk", { charset: "gbk" }, "SET NAMES gbk"],
    ["that fold case and accents", {}, "SET SESSION collation_connection='utf8mb4_general_ci'"],
    ["with REPEATABLE READ", {}, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"],
    ["with SERIALIZABLE", {}, "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
    [
      "whose answers are arrays, dates are texts and numbers floats",
      {
        rowsAsArray: true,
        dateStrings: true,
        decimalNumbers: true,
        typeCast: false,
        namedPlaceholders: true,
      },
    ],
    ["that limit what a session reads", {}, "SET SESSION sql_select_limit=DEFAULT, group_concat_max_len=4"],
  ];

  test.each(sessions)(
    "on sessions %s all is as the law says",
    { timeout: 60_000 },
    async (_, settings, ...sql) => {
      const pool = poolWith(settings, ...sql);
      const clock = { nowUs: 1_763_725_844_000_123n };
      await direct.query("DELETE FROM coord_lease");
      const backend = mysqlBackend({ client: rewriting(pool, onClock(clock)), wake: false });
      await compareWithLaw(7, 100, clock, [backend]);
      expect(clock.nowUs).toBeGreaterThan(0n);
    },
  );

  test("a client with callbacks does as well, and stays open when the backend closes", async () => {
    const pool = createCallbackPool(server.url);
    const backend = mysqlBackend({ client: pool });
    const request = acquireRequest(freshName());
    expect((await backend.acquire(request, call())).outcome).toBe("granted");
    await backend.close();
    await expect(backend.inspect(freshName(), call())).rejects.toMatchObject(closed);
    await expect(pool.promise().query("SELECT 1")).resolves.toHaveLength(2);
    await pool.promise().end();
  });

  test("a URL makes two connections of its own, with sessions as coord wants them", async () => {
    for (const url of [server.url, server.url.replace("mysql:", "mariadb:")]) {
      const backend = mysqlBackend({ url });
      await backend.setup(call());
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => backend.acquire(acquireRequest(freshName()), call())),
      );
      expect(answers.every(({ outcome }) => outcome === "granted")).toBe(true);
      await backend.close();
      await expect(backend.inspect(freshName(), call())).rejects.toMatchObject(closed);
      await backend.close();
    }
  });

  const unfit: readonly [string, string, RegExp][] = [
    ["autocommit off", "SET autocommit=0", /autocommit/],
    ["READ UNCOMMITTED", "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", /READ COMMITTED/],
    ...(flavor === "mariadb"
      ? [
          [
            "SIMULTANEOUS_ASSIGNMENT",
            "SET sql_mode='SIMULTANEOUS_ASSIGNMENT'",
            /SIMULTANEOUS_ASSIGNMENT/,
          ] as const,
          ["ORACLE", "SET sql_mode='ORACLE'", /ORACLE/] as const,
        ].map(([name, sql, message]): [string, string, RegExp] => [name, sql, message])
      : []),
  ];
  test.each(unfit)("sessions with %s are refused before anything is written", async (_, sql, message) => {
    const backend = mysqlBackend({ client: poolWith({}, sql), wake: false });
    const name = freshName();
    const refused = backend.acquire(acquireRequest(name), call());
    await expect(refused).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
    await expect(refused).rejects.toThrow(message);
    expect(await mysqlBackend({ client: direct, wake: false }).inspect(name, call())).toBeNull();
  });

  test("a transaction that somebody left open on a pool's connection is found out, and the step undone", async () => {
    const pool = poolWith({ connectionLimit: 1 });
    const backend = mysqlBackend({ client: pool, wake: false });
    const name = freshName();
    await backend.inspect(name, call());
    const connection = await pool.getConnection();
    await connection.beginTransaction();
    connection.release();
    await expect(backend.acquire(acquireRequest(name), call())).rejects.toMatchObject({
      code: "COORD_CONFIGURATION",
    });
    expect(await mysqlBackend({ client: direct, wake: false }).inspect(name, call())).toBeNull();
    // The connection is gone, and the next one is as it should be.
    expect((await backend.acquire(acquireRequest(name), call())).outcome).toBe("granted");
  });

  test("a deadlock is repeated within the step, as it did not happen", async () => {
    let rejected = 0;
    const pool = poolWith({});
    const client = rewriting(pool, (sql) => {
      if (!sql.startsWith("INSERT INTO `coord_lease`") || rejected >= 3) return sql;
      rejected += 1;
      return "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO=1213, MESSAGE_TEXT='Deadlock found'";
    });
    const backend = mysqlBackend({ client, wake: false });
    expect((await backend.acquire(acquireRequest(freshName()), call())).outcome).toBe("granted");
    // Also where the step is a transaction, which the deadlock has ended.
    rejected = 0;
    const payload = "p".repeat(5000);
    const granted = await backend.acquire(acquireRequest(freshName(), { payload }), call());
    expect(granted).toMatchObject({ outcome: "granted", payload });
    expect(rejected).toBe(3);
  });

  test("a lock wait that times out is repeated while there is time, then it is unavailable and not done", async () => {
    const pool = poolWith({}, "SET SESSION innodb_lock_wait_timeout=1");
    const backend = mysqlBackend({ client: pool, wake: false });
    const name = freshName();
    const request = acquireRequest(name, { ttlMs: 1 });
    await backend.acquire(request, call());
    const lock = async () => {
      const connection = await direct.getConnection();
      await connection.beginTransaction();
      await connection.query("SELECT fence FROM coord_lease WHERE ns=? FOR UPDATE", [name.namespace]);
      return connection;
    };
    const connection = await lock();
    const waiting = backend.acquire(acquireRequest(name), call(8000));
    await new Promise((resolve) => setTimeout(resolve, 1300));
    await connection.rollback();
    connection.release();
    expect((await waiting).outcome).toBe("granted");
    const other = await lock();
    const startedMs = performance.now();
    await expect(backend.acquire(acquireRequest(name), call(500))).rejects.toMatchObject({
      code: "COORD_UNAVAILABLE",
    });
    expect(performance.now() - startedMs).toBeLessThan(1500);
    await other.rollback();
    other.release();
  });

  test("N acquirers on a new, a released and a lapsed name: one grant; copies of one request: one fence", async () => {
    const backends = [direct, poolWith({})].map((client) => mysqlBackend({ client, wake: false }));
    const all = <T>(step: (backend: (typeof backends)[number]) => Promise<T>): Promise<T[]> =>
      Promise.all(Array.from({ length: 24 }, (_, index) => step(backends[index % 2] ?? raise())));
    for (let round = 0; round < 10; round++) {
      const name = freshName();
      const [first] = backends;
      for (const state of ["new", "released", "lapsed"]) {
        const answers = await all(async (backend) => {
          const request = acquireRequest(name);
          return { request, answer: await backend.acquire(request, call()) };
        });
        const won = answers.filter(({ answer }) => answer.outcome === "granted");
        expect(won, state).toHaveLength(1);
        const grantId = won[0]?.request.grantId ?? "";
        await first?.release(releaseRequest({ name, grantId, fence: null }), call());
        if (state !== "released") continue;
        await first?.acquire(acquireRequest(name, { ttlMs: 1 }), call());
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      const copy = acquireRequest(freshName());
      const copies = await all((backend) => backend.acquire(copy, call()));
      const fences = new Set(copies.map((answer) => (answer.outcome === "granted" ? answer.fence : 0n)));
      expect(fences.size).toBe(1);
      expect(fences.has(0n)).toBe(false);
    }
  }, 60_000);

  test("two releases at once, of 200 grants: both say released, the outcome of one stands", async () => {
    const backends = [direct, poolWith({})].map((client) => mysqlBackend({ client, wake: false }));
    const [one = raise(), two = raise()] = backends;
    for (let round = 0; round < 200; round++) {
      const request = acquireRequest(freshName());
      const answer = await one.acquire(request, call());
      if (answer.outcome !== "granted") throw new Error("refused");
      const grant: Grant = { name: request.name, grantId: request.grantId, fence: answer.fence };
      const outcomes = await Promise.all([
        one.release(releaseRequest(grant, { payload: "one" }), call()),
        two.release(releaseRequest(grant, { payload: "two", sealed: true }), call()),
        two.renew([{ ...grant, ttlMs: 60_000 }], call()),
      ]);
      const [first, second] = outcomes;
      expect([first.outcome, second.outcome]).toEqual(["released", "released"]);
      const record = await two.inspect(grant.name, call());
      const [stands] = [first, second].filter(
        (each) => each.outcome === "released" && each.record === undefined,
      );
      expect(stands).toBeDefined();
      expect(record?.payload).toBe(stands === first ? "one" : "two");
      expect(record?.state).toBe("free");
    }
  }, 60_000);

  test("a batch of 1000 renewals takes one round trip's time", async () => {
    const backend = mysqlBackend({ client: direct, wake: false });
    const { namespace } = freshName();
    const grants: Grant[] = [];
    for (let index = 0; index < 1000; index += 50) {
      const some = await Promise.all(
        Array.from({ length: 50 }, async (_, offset) => {
          const request = acquireRequest({ namespace, key: `key ${index + offset}` });
          const answer = await backend.acquire(request, call());
          return {
            name: request.name,
            grantId: request.grantId,
            fence: answer.outcome === "granted" ? answer.fence : 0n,
          };
        }),
      );
      grants.push(...some);
    }
    const requests = grants.map((grant, index) => ({ ...grant, ttlMs: index % 7 === 0 ? 90_000 : 70_000 }));
    const startedMs = performance.now();
    expect(new Set(await backend.renew(requests, call()))).toEqual(new Set(["renewed"]));
    expect(performance.now() - startedMs).toBeLessThan(1500);
    const wrong = requests.with(500, { ...(requests[500] ?? raise()), grantId: "somebody else" });
    const outcomes = await backend.renew(wrong, call());
    expect(outcomes.flatMap((outcome, index) => (outcome === "renewed" ? [] : [[index, outcome]]))).toEqual([
      [500, "lost"],
    ]);
  }, 60_000);

  test("schemaSql makes what setup makes, under another prefix too", async () => {
    const tablePrefix = `p${Date.now()}`;
    for (const sql of schemaSql({ tablePrefix }).split(";\n")) if (sql.trim() !== "") await direct.query(sql);
    const backend = mysqlBackend({ client: direct, tablePrefix, wake: false });
    await backend.setup(call());
    const name = freshName();
    await backend.acquire(acquireRequest(name, { payload: "x".repeat(2000) }), call());
    expect((await backend.inspect(name, call()))?.payload).toHaveLength(2000);
    expect(await mysqlBackend({ client: direct, wake: false }).inspect(name, call())).toBeNull();
    const errors = (await backend.diagnose(call())).findings.filter(({ level }) => level === "error");
    expect(errors).toEqual([]);
    await direct.query(`DROP TABLE ${tablePrefix}_lease, ${tablePrefix}_payload`);
  });
});

function raise(): never {
  throw new Error("not there");
}
