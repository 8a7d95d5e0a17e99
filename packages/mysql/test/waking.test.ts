import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Backend, Grant, Name } from "@coord/core";
import { start } from "@coord/test-fixtures";
import { createConnection } from "mysql2/promise";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { mysqlBackend } from "../src/index.ts";
import type { MysqlBackendOptions, MysqlConnection } from "../src/index.ts";
import {
  acquireRequest,
  call,
  flavors,
  freshName,
  overruleRequest,
  poolOf,
  releaseRequest,
  rewriting,
  until,
} from "./harness.ts";

const path = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

function run(file: string, args: readonly string[]): ChildProcess {
  return spawn(process.execPath, ["--conditions=source", "--import", "tsx", path(file), ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

describe.each(flavors)(
  "%s",
  async (flavor) => {
    const server = await start("mysql", { flavor });
    const pool = poolOf(server.url);
    const closing: (() => Promise<unknown>)[] = [];
    await mysqlBackend({ client: pool, wake: false }).setup(call());
    afterEach(async () => {
      for (const end of closing.splice(0)) await end();
    });
    afterAll(async () => {
      await pool.end();
      await server.stop();
    });

    /** A backend as a process of its own would have it, and what it sends on its connections for named locks. */
    function aProcess(wake: Exclude<MysqlBackendOptions["wake"], false> = {}): Backend & { sent: string[] } {
      const sent: string[] = [];
      const connect = async (): Promise<MysqlConnection> => {
        const connection =
          wake.connect === undefined ? await createConnection(server.url) : await wake.connect();
        return {
          ...("connection" in connection && { connection: connection.connection }),
          query: (question) => {
            sent.push(question.sql);
            return connection.query(question);
          },
          destroy: () => connection.destroy(),
        };
      };
      const backend = mysqlBackend({ client: pool, wake: { ...wake, connect } });
      closing.push(() => backend.close());
      return { ...backend, sent };
    }

    async function hold(backend: Backend, name: Name, ttlMs = 60_000): Promise<Grant> {
      const request = acquireRequest(name, { ttlMs });
      const answer = await backend.acquire(request, call());
      if (answer.outcome !== "granted") throw new Error(`refused: ${answer.reason}`);
      return { name, grantId: request.grantId, fence: answer.fence };
    }

    async function wait(backend: Backend, name: Name, onWake: () => void) {
      const subscription = await backend.watch?.(name, onWake, call());
      if (subscription === undefined) throw new Error("no watch");
      return subscription;
    }

    /** The connections that have a named lock, or wait for one. */
    async function connections(): Promise<number> {
      const [rows] = await pool.query("SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST");
      return Array.isArray(rows) && rows[0] !== undefined && "n" in rows[0] ? Number(rows[0]["n"]) : NaN;
    }

    const shut = (backend: { sent: string[] }) =>
      until("the gate is shut", () => backend.sent.some((sql) => sql.includes("GET_LOCK(?,0) AS a0")));

    test("a release wakes one waiter at once, and the others in the order of the server's queue", async () => {
      const name = freshName();
      const holder = aProcess();
      const grant = await hold(holder, name);
      await shut(holder);
      const order: number[] = [];
      const waiters = [1, 2, 3].map((number) => ({ number, backend: aProcess() }));
      const turns = [];
      for (const { number, backend } of waiters) {
        let woken = false;
        const subscription = await wait(backend, name, () => (woken = true));
        await until("it stands in the queue", () =>
          backend.sent.some((sql) => sql.includes("GET_LOCK(?,30)")),
        );
        // The server sees it a moment after it was sent.
        await new Promise((resolve) => setTimeout(resolve, 100));
        turns.push(async () => {
          await until(`waiter ${number} is woken`, () => woken);
          order.push(number);
          const won = await hold(backend, name);
          await subscription.close();
          await backend.release(releaseRequest(won), call());
        });
      }
      const releasedMs = performance.now();
      await holder.release(releaseRequest(grant), call());
      await Promise.all(turns.map((turn) => turn()));
      expect(order).toEqual([1, 2, 3]);
      // Three turns; a single poll of core would have taken longer on this server.
      expect(performance.now() - releasedMs).toBeLessThan(2000);
    });

    test("a short lease that nobody waits for sends nothing for wake-ups", async () => {
      const backend = aProcess();
      for (let turn = 0; turn < 20; turn++) {
        const name = freshName();
        const request = acquireRequest(name);
        const answer = await backend.acquire(request, call());
        if (answer.outcome !== "granted") throw new Error("refused");
        await backend.release(releaseRequest({ name, grantId: request.grantId, fence: null }), call());
      }
      const held = backend.sent.filter((sql) => sql.includes("GET_LOCK(?,0) AS a0"));
      // A busy machine may stretch some of them beyond the moment after which a gate is shut.
      expect(held.length).toBeLessThan(5);
    });

    test("a process that dies wakes a waiter at once, who gets the lease when it has lapsed", async () => {
      const name = freshName();
      const child = run("holder-child.ts", [server.url, name.namespace, name.key, "4000"]);
      await until("the child holds the lease", async () => {
        const [said] = await once(child.stdout ?? child, "data");
        return String(said).includes("granted");
      });
      const waiter = aProcess();
      let woken = 0;
      await wait(waiter, name, () => (woken += 1));
      await until("the waiter watches a shut gate", () =>
        waiter.sent.some((sql) => sql.includes("GET_LOCK(?,5)")),
      );
      expect(woken).toBe(0);
      child.kill("SIGKILL");
      await until("the waiter is woken", () => woken > 0, 3000);
      const seen = await waiter.inspect(name, call());
      expect(seen?.state).toBe("held");
      woken = 0;
      await until("the waiter is woken again", () => woken > 0);
      await hold(waiter, name);
    });

    test("who waits sends one statement in five seconds, and notices an overrule from elsewhere by it", async () => {
      const name = freshName();
      const holder = aProcess();
      const grant = await hold(holder, name);
      await shut(holder);
      const waiter = aProcess();
      let woken = 0;
      await wait(waiter, name, () => (woken += 1));
      await until("the waiter watches a shut gate", () =>
        waiter.sent.some((sql) => sql.includes("GET_LOCK(?,5)")),
      );
      const before = waiter.sent.length;
      await mysqlBackend({ client: pool, wake: false }).overrule(
        overruleRequest(name, grant.fence, { now: true }),
        call(),
      );
      await until("the waiter is woken", () => woken > 0, 8000);
      // What it waited with was sent before; another look may have begun.
      expect(waiter.sent.length - before).toBeLessThanOrEqual(1);
    });

    test("what a holder learns of its loss by a renewal opens its gate", async () => {
      const name = freshName();
      const holder = aProcess();
      const grant = await hold(holder, name);
      await shut(holder);
      const waiter = aProcess();
      let woken = 0;
      await wait(waiter, name, () => (woken += 1));
      await until("the waiter watches", () => waiter.sent.some((sql) => sql.includes("GET_LOCK(?,5)")));
      const elsewhere = mysqlBackend({ client: pool, wake: false });
      await elsewhere.overrule(overruleRequest(name, grant.fence, { now: true }), call());
      expect(await holder.renew([{ ...grant, ttlMs: 60_000 }], call())).toEqual(["lost"]);
      await until("the waiter is woken", () => woken > 0, 3000);
    });

    test("waiting names beyond the limit are refused a wake-up, and the connections stay within it", async () => {
      const before = await connections();
      const backend = aProcess({ maxConnections: 3 });
      const holder = aProcess();
      const names = [freshName(), freshName(), freshName()];
      for (const name of names) await hold(holder, name);
      const [first, second, third] = names;
      if (first === undefined || second === undefined || third === undefined) throw new Error("three names");
      const one = await wait(backend, first, () => {});
      await wait(backend, second, () => {});
      await expect(wait(backend, third, () => {})).rejects.toMatchObject({
        code: "COORD_UNAVAILABLE",
        notDone: true,
      });
      await one.close();
      await wait(backend, third, () => {});
      // The holder has a connection for its gates and a spare one; the waiter three at the most.
      await until("no more connections than declared", async () => (await connections()) <= before + 2 + 3);
    });

    test("several waiters of one process share a connection; one release wakes one of them", async () => {
      const name = freshName();
      const holder = aProcess();
      const grant = await hold(holder, name);
      const backend = aProcess({ maxConnections: 2 });
      const woken = [0, 0, 0];
      for (const index of woken.keys())
        await wait(backend, name, () => (woken[index] = (woken[index] ?? 0) + 1));
      await holder.release(releaseRequest(grant), call());
      await until("one is woken", () => woken.some((count) => count > 0));
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(woken.filter((count) => count > 0)).toHaveLength(1);
    });

    test("no connection of the pool ever has a named lock", async () => {
      const asked: string[] = [];
      const own = poolOf(server.url, { connectionLimit: 2 });
      const recorded = rewriting(own, (sql) => {
        asked.push(sql);
        return sql;
      });
      // The backend reads from the pool how it connects.
      const client = { ...recorded, pool: own.pool };
      const backend = mysqlBackend({ client });
      closing.push(() => backend.close());
      const name = freshName();
      const grant = await hold(backend, name);
      let woken = 0;
      const waiter = await wait(backend, name, () => (woken += 1));
      await new Promise((resolve) => setTimeout(resolve, 50));
      await backend.release(releaseRequest(grant), call());
      await until("woken", () => woken > 0);
      await waiter.close();
      await backend.close();
      expect(asked.length).toBeGreaterThan(0);
      expect(asked.filter((sql) => sql.includes("_LOCK("))).toEqual([]);
      await own.end();
    });

    test("a name that was waited for leaves no lock behind, also after an abort", async () => {
      const name = freshName();
      const holder = aProcess();
      const grant = await hold(holder, name);
      await shut(holder);
      const before = aProcess();
      const left = await wait(before, name, () => {});
      await until("it watches", () => before.sent.some((sql) => sql.includes("GET_LOCK(?,5)")));
      await left.close();
      expect(left.live).toBe(false);
      let woken = 0;
      const next = aProcess();
      await wait(next, name, () => (woken += 1));
      await holder.release(releaseRequest(grant), call());
      await until("the next one is woken", () => woken > 0, 5000);
    });

    test("an aborted subscription rejects at once, and a subscription on a closed backend too", async () => {
      const backend = aProcess();
      await expect(
        backend.watch?.(freshName(), () => {}, { signal: AbortSignal.abort(), timeoutMs: 1000 }),
      ).rejects.toMatchObject({ code: "COORD_UNAVAILABLE" });
      await backend.close();
      await expect(wait(backend, freshName(), () => {})).rejects.toMatchObject({ code: "COORD_UNAVAILABLE" });
    });

    test("where the server refuses named locks, waiting is polling, and diagnose says so", async () => {
      const connect = async (): Promise<MysqlConnection> => {
        const connection = await createConnection(server.url);
        return {
          ...("connection" in connection && { connection: connection.connection }),
          query: async (question) => {
            if (!question.sql.includes("GET_LOCK")) return connection.query(question);
            throw Object.assign(new Error("not with wsrep_on"), {
              errno: 1235,
              code: "ER_NOT_SUPPORTED_YET",
            });
          },
          destroy: () => connection.destroy(),
        };
      };
      const backend = aProcess({ connect });
      await expect(wait(backend, freshName(), () => {})).rejects.toThrow(/1235/);
      const grant = await hold(backend, freshName());
      await backend.release(releaseRequest(grant), call());
      const { findings } = await backend.diagnose(call());
      expect(findings).toContainEqual(
        expect.objectContaining({ level: "warning", message: expect.stringContaining("1235") }),
      );
    });

    test("where a proxy mixes connections, waiting is polling, and diagnose says so", async () => {
      // Every statement goes to a connection of its own, as a multiplexing proxy may send it.
      const connect = async (): Promise<MysqlConnection> => ({
        query: (question) => pool.query({ ...question, values: [...question.values] }),
        destroy: () => {},
      });
      const backend = aProcess({ connect });
      const why = await wait(backend, freshName(), () => {}).then(
        () => "it works",
        (error: unknown) => String(error),
      );
      expect(why).toMatch(/cluster or a proxy/);
      const { findings } = await backend.diagnose(call());
      expect(findings.some(({ level, message }) => level === "warning" && /proxy/.test(message))).toBe(true);
    });

    test("nothing keeps the process alive after close", async () => {
      const child = run("exit-child.ts", [server.url, freshName().namespace]);
      const [status] = await once(child, "close");
      expect(status).toBe(0);
    });
  },
  60_000,
);
