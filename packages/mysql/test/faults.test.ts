import type { Backend, Grant } from "@coord/core";
import { start, startProxy } from "@coord/test-fixtures";
import type { Proxy } from "@coord/test-fixtures";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { mysqlBackend } from "../src/index.ts";
import {
  acquireRequest,
  call,
  flavors,
  freshName,
  overruleRequest,
  poolOf,
  releaseRequest,
} from "./harness.ts";

describe.each(flavors)(
  "%s",
  async (flavor) => {
    const server = await start("mysql", { flavor });
    const proxy: Proxy = await startProxy(server.url);
    const direct = poolOf(server.url);
    direct.on("connection", (connection) => connection.on("error", () => {}));
    const pool = poolOf(proxy.url, { connectionLimit: 3 });
    const backend: Backend = mysqlBackend({ client: pool, wake: false });
    const steady = mysqlBackend({ client: direct, wake: false });
    await steady.setup(call());
    const isStep = (chunk: Buffer): boolean => chunk.includes("coord_lease");
    afterEach(() => proxy.heal());
    afterAll(async () => {
      await Promise.all([pool.end(), direct.end()]);
      await proxy.stop();
      await server.stop();
    });

    async function grant(ttlMs = 60_000): Promise<Grant> {
      const request = acquireRequest(freshName(), { ttlMs });
      const answer = await steady.acquire(request, call());
      if (answer.outcome !== "granted") throw new Error("refused");
      return { name: request.name, grantId: request.grantId, fence: answer.fence };
    }

    /** Its reply is lost, so it is unknown; then the same again, which finds what was done. */
    async function lost<T>(step: () => Promise<T>): Promise<T> {
      // What is cut is a step on a connection that is ready, not the making of one.
      await backend.inspect(freshName(), call());
      const { done } = proxy.swallowReply({ match: isStep });
      const failed = step();
      await expect(failed).rejects.toMatchObject({ code: "COORD_UNAVAILABLE", notDone: false });
      await done;
      return step();
    }

    test("a step whose reply is lost is unknown, and its repeat answers what the step did", async () => {
      const request = acquireRequest(freshName());
      const acquired = await lost(() => backend.acquire(request, call()));
      if (acquired.outcome !== "granted") throw new Error("refused");
      const mine = { name: request.name, grantId: request.grantId, fence: acquired.fence };
      expect(await lost(() => backend.renew([{ ...mine, ttlMs: 60_000 }], call()))).toEqual(["renewed"]);
      const released = await lost(() => backend.release(releaseRequest(mine, { payload: "done" }), call()));
      expect(released).toMatchObject({ outcome: "released", record: { payload: "done" } });
      const other = await grant();
      const overruling = overruleRequest(other.name, other.fence);
      const overruled = await lost(() => backend.overrule(overruling, call()));
      const record = await steady.inspect(other.name, call());
      expect(overruled).toEqual({ outcome: "overruled", fence: record?.fence });
    });

    test("a large payload whose commit is not answered is there as a whole, or not at all", async () => {
      const payload = "ü".repeat(100_000);
      const request = acquireRequest(freshName(), { payload });
      await backend.inspect(freshName(), call());
      const { done } = proxy.swallowReply({ match: (chunk) => chunk.includes("COMMIT") });
      await expect(backend.acquire(request, call())).rejects.toMatchObject({ notDone: false });
      await done;
      const repeated = await backend.acquire(request, call());
      expect(repeated).toMatchObject({ outcome: "granted", payload });
      const mine = { name: request.name, grantId: request.grantId, fence: null };
      await expect(
        backend.release(releaseRequest(mine, { payload: "p".repeat(400_000) }), call()),
      ).rejects.toMatchObject({
        code: "COORD_INVALID_ARGUMENT",
      });
    });

    test("a server that does not answer is unavailable within the time limit, and an abort within no time", async () => {
      await backend.inspect(freshName(), call());
      proxy.stall();
      const startedMs = performance.now();
      await expect(backend.inspect(freshName(), call(400))).rejects.toMatchObject({
        code: "COORD_UNAVAILABLE",
      });
      const leaving = new AbortController();
      setTimeout(() => leaving.abort(), 100);
      const options = { signal: leaving.signal, timeoutMs: 60_000 };
      await expect(backend.acquire(acquireRequest(freshName()), options)).rejects.toMatchObject({
        code: "COORD_UNAVAILABLE",
      });
      expect(performance.now() - startedMs).toBeLessThan(3000);
      await proxy.heal();
      expect((await backend.acquire(acquireRequest(freshName()), call())).outcome).toBe("granted");
    });

    test("a call that was aborted before it began sends nothing", async () => {
      const options = { signal: AbortSignal.abort(), timeoutMs: 1000 };
      const name = freshName();
      await expect(backend.acquire(acquireRequest(name), options)).rejects.toMatchObject({ notDone: true });
      expect(await steady.inspect(name, call())).toBeNull();
    });

    test("no connection to be had is unavailable and not done, and the pool is whole afterwards", async () => {
      await proxy.refuse();
      // Each connection of before is found dead once.
      for (let left = 3; left > 0; left--) await backend.inspect(freshName(), call()).catch(() => {});
      await expect(backend.inspect(freshName(), call())).rejects.toMatchObject({
        code: "COORD_UNAVAILABLE",
        notDone: true,
      });
      await proxy.heal();
      const taken = await Promise.all([pool.getConnection(), pool.getConnection(), pool.getConnection()]);
      await expect(backend.inspect(freshName(), call(200))).rejects.toMatchObject({
        code: "COORD_UNAVAILABLE",
        notDone: true,
      });
      for (const connection of taken) connection.release();
      const answers = await Promise.all(
        Array.from({ length: 9 }, () => backend.inspect(freshName(), call())),
      );
      expect(answers).toEqual(Array.from({ length: 9 }, () => null));
    });

    test("a server that was killed and came back keeps what it has answered", async () => {
      if (server.faults === undefined) throw new Error("this server can't be killed");
      const held = await grant();
      await server.faults.restart();
      // Connections of before are found dead once each; nothing ends the process.
      for (let left = 12; left > 0; left--) await steady.inspect(held.name, call()).catch(() => {});
      expect(await steady.inspect(held.name, call())).toMatchObject({ grantId: held.grantId, state: "held" });
    }, 60_000);

    test("a replica's answer, and a step on one, are errors", async () => {
      await direct.query("SET GLOBAL read_only=1");
      try {
        const user = `reader${Date.now()}`;
        await direct.query(`CREATE USER IF NOT EXISTS '${user}'@'127.0.0.1'`).catch(() => {});
        await expect(steady.inspect(freshName(), call())).rejects.toMatchObject({
          code: "COORD_UNAVAILABLE",
          notDone: true,
        });
        const empty = { namespace: freshName().namespace, prefix: "", limit: 10 };
        await expect(steady.list(empty, call())).rejects.toMatchObject({
          code: "COORD_UNAVAILABLE",
          notDone: true,
        });
        const errors = (await steady.diagnose(call())).findings.filter(({ level }) => level === "error");
        expect(errors).toEqual([expect.objectContaining({ message: expect.stringContaining("read-only") })]);
      } finally {
        await direct.query("SET GLOBAL read_only=0");
      }
      const session = poolOf(server.url, { connectionLimit: 1 });
      session.on("connection", (connection) => void connection.query("SET SESSION TRANSACTION READ ONLY"));
      const reading = mysqlBackend({ client: session, wake: false });
      await expect(reading.acquire(acquireRequest(freshName()), call())).rejects.toMatchObject({
        code: "COORD_UNAVAILABLE",
        notDone: true,
      });
      await session.end();
    });

    test("what is set up wrongly says so, with the remedy and without a secret", async () => {
      const at = (change: (url: URL) => void): string => {
        const url = new URL(server.url);
        change(url);
        return url.href;
      };
      const wrong: readonly [string, string, RegExp][] = [
        [
          at((url) => ((url.username = "nobody"), (url.password = "hunter2"))),
          "COORD_CONFIGURATION",
          /grant|password/,
        ],
        [at((url) => (url.pathname = "/nowhere")), "COORD_NOT_SET_UP", /database/],
        [at((url) => (url.pathname = "/mysql")), "COORD_NOT_SET_UP", /setup\(\)/],
      ];
      for (const [url, code, message] of wrong) {
        const broken = mysqlBackend({ url });
        const error: unknown = await broken
          .acquire(acquireRequest(freshName()), call())
          .catch((reason: unknown) => reason);
        expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
        expect(String(error)).not.toContain("hunter2");
        await broken.close();
      }
    });

    test("a killed statement and a killed connection are unknown", async () => {
      const held = await grant();
      const locker = await direct.getConnection();
      await locker.beginTransaction();
      await locker.query("SELECT fence FROM coord_lease WHERE ns=? FOR UPDATE", [held.name.namespace]);
      for (const what of ["QUERY", "CONNECTION"]) {
        const step = steady.release(releaseRequest(held), call());
        step.catch(() => {});
        let id = 0;
        for (let looks = 0; id === 0 && looks < 500; looks++) {
          const [rows] = await locker.query(
            "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE INFO LIKE 'UPDATE `coord_lease`%'",
          );
          if (Array.isArray(rows) && rows[0] !== undefined && "id" in rows[0]) id = Number(rows[0]["id"]);
        }
        await locker.query(`KILL ${what} ${id}`);
        await expect(step).rejects.toMatchObject({ code: "COORD_UNAVAILABLE", notDone: false });
      }
      await locker.rollback();
      locker.release();
      expect((await steady.release(releaseRequest(held), call())).outcome).toBe("released");
    });
  },
  90_000,
);
