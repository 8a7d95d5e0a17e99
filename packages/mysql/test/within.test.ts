import type { Grant } from "@coord/core";
import { start } from "@coord/test-fixtures";
import { createConnection as createCallbackConnection } from "mysql2";
import { afterAll, describe, expect, test } from "vitest";
import { mysqlBackend } from "../src/index.ts";
import {
  acquireRequest,
  call,
  flavors,
  freshId,
  freshName,
  overruleRequest,
  poolOf,
  releaseRequest,
} from "./harness.ts";

describe.each(flavors)(
  "within a transaction on %s",
  async (flavor) => {
    const server = await start("mysql", { flavor });
    const pool = poolOf(server.url);
    const backend = mysqlBackend({ client: pool, wake: false });
    await backend.setup(call());
    await pool.query("CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL)");
    await pool.query("INSERT INTO account VALUES (1, 0)");
    afterAll(async () => {
      await pool.end();
      await server.stop();
    });

    async function grant(ttlMs = 60_000): Promise<Grant> {
      const request = acquireRequest(freshName(), { ttlMs });
      const answer = await backend.acquire(request, call());
      if (answer.outcome !== "granted") throw new Error("refused");
      return { name: request.name, grantId: request.grantId, fence: answer.fence };
    }

    async function inTransaction(
      work: (tx: Awaited<ReturnType<typeof pool.getConnection>>) => Promise<void>,
    ): Promise<void> {
      const connection = await pool.getConnection();
      try {
        await connection.beginTransaction();
        await work(connection);
        await connection.rollback();
      } finally {
        connection.release();
      }
    }

    test("verify passes for the holder, and is LeaseLostError for every other", async () => {
      const held = await grant();
      const lost = { code: "COORD_LEASE_LOST", key: held.name.key };
      await inTransaction(async (tx) => {
        const within = backend.within(tx);
        await within.verify({ grant: held });
        await expect(within.verify({ grant: { ...held, fence: held.fence - 1n } })).rejects.toMatchObject(
          lost,
        );
        await expect(within.verify({ grant: { ...held, grantId: freshId() } })).rejects.toMatchObject(lost);
      });
      await backend.overrule(overruleRequest(held.name, held.fence), call());
      await inTransaction((tx) =>
        expect(backend.within(tx).verify({ grant: held })).rejects.toMatchObject(lost),
      );
    });

    test("a role that only verifies needs to read five columns and no more", async () => {
      const held = await grant();
      const user = `verifier${Date.now()}`;
      await pool.query(`CREATE USER '${user}'@'127.0.0.1'`);
      await pool.query(
        `GRANT SELECT (ns,k,grant_id,fence,expires_ms) ON coord_lease TO '${user}'@'127.0.0.1'`,
      );
      const url = new URL(server.url);
      url.username = user;
      const own = poolOf(url.href, { connectionLimit: 1 });
      const tx = await own.getConnection();
      await tx.beginTransaction();
      await backend.within(tx).verify({ grant: held });
      await tx.rollback();
      tx.release();
      await own.end();
      await pool.query(`DROP USER '${user}'@'127.0.0.1'`);
      expect(await backend.inspect(held.name, call())).toMatchObject({ state: "held" });
    });

    test("a takeover of a lapsed lease waits for the commit; a renewal is unknown at once", async () => {
      const held = await grant(500);
      let takeover: Promise<unknown> | undefined;
      await inTransaction(async (tx) => {
        await backend.within(tx).verify({ grant: held });
        expect(await backend.renew([{ ...held, ttlMs: 500 }], call(1000))).toEqual(["unknown"]);
        await new Promise((resolve) => setTimeout(resolve, 600));
        let done = false;
        takeover = backend.acquire(acquireRequest(held.name), call()).finally(() => (done = true));
        await new Promise((resolve) => setTimeout(resolve, 200));
        expect(done).toBe(false);
        await tx.commit();
      });
      expect(await takeover).toMatchObject({ outcome: "granted" });
    });

    test("a release commits with the caller's writes, or not at all", async () => {
      const large = "p".repeat(10_000);
      for (const [ending, payload] of [
        ["rollback", large],
        ["commit", large],
        ["commit", "small"],
      ] as const) {
        const held = await grant();
        await inTransaction(async (tx) => {
          await tx.query("SELECT COUNT(*) FROM coord_lease");
          const within = backend.within(tx);
          await within.verify({ grant: held });
          await tx.query("UPDATE account SET balance=balance+1 WHERE id=1");
          expect(await within.release(releaseRequest(held, { payload, sealed: true }))).toEqual({
            outcome: "released",
          });
          const again = await within.release(releaseRequest(held, { payload: "other" }));
          expect(again).toMatchObject({ outcome: "released", record: { payload } });
          expect(await backend.inspect(held.name, call())).toMatchObject({ state: "held" });
          await tx[ending]();
        });
        const record = await backend.inspect(held.name, call());
        expect(record).toMatchObject(
          ending === "commit" ? { state: "free", sealed: true, payload } : { state: "held", sealed: false },
        );
      }
      const [rows] = await pool.query("SELECT balance FROM account");
      expect(rows).toEqual([{ balance: 2 }]);
    });

    test("a release of somebody else's lease is lost", async () => {
      const held = await grant();
      await inTransaction(async (tx) => {
        const answer = await backend.within(tx).release(releaseRequest({ ...held, grantId: freshId() }));
        expect(answer).toEqual({ outcome: "lost" });
      });
    });

    test("without a transaction nothing would be locked, so it is refused", async () => {
      const held = await grant();
      const connection = await pool.getConnection();
      await expect(backend.within(connection).verify({ grant: held })).rejects.toThrow(/beginTransaction/);
      connection.release();
    });

    test("a connection with callbacks will do", async () => {
      const held = await grant();
      const connection = createCallbackConnection(server.url);
      await connection.promise().beginTransaction();
      await backend.within(connection).verify({ grant: held });
      await connection.promise().rollback();
      await connection.promise().end();
      expect(held.fence).toBeGreaterThan(0n);
    });
  },
  60_000,
);
