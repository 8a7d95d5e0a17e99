/** Messages applied in a transaction, by processes that are killed at every step between fetching and acknowledging. */
import { once } from "node:events";
import { start, whyMissing } from "@coord/test-fixtures";
import { createCoordinator } from "@coord/core";
import { postgresBackend } from "@coord/postgres";
import { Pool } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../server.ts";
import { bundled } from "./bundled.ts";
import { aborted, startQueues, type TestQueue } from "./queue.ts";

const missing = (await whyMissing("redis")) ?? (await whyMissing("postgres"));
/** `COORD_QUEUE_MESSAGES=1000` is the long form. */
const messages = Number(process.env["COORD_QUEUE_MESSAGES"] ?? 150);

describe.skipIf(missing !== undefined)(
  `messages in transactions${missing ? `: ${missing}` : ""}`,
  { timeout: 120_000, concurrent: true },
  () => {
    let server: Awaited<ReturnType<typeof startQueues>>;
    let postgres: Awaited<ReturnType<typeof start>>;
    let admin: Pool;
    let child: Awaited<ReturnType<typeof bundled>>;
    beforeAll(async () => {
      [server, postgres, child] = await Promise.all([
        startQueues(),
        start("postgres"),
        bundled("session-child.ts"),
      ]);
      admin = new Pool({ connectionString: postgres.url });
      admin.on("error", () => {});
    }, 60_000);
    afterAll(async () => {
      await admin.end();
      await Promise.all([server[Symbol.asyncDispose](), postgres.stop(), child[Symbol.asyncDispose]()]);
    });

    /** A schema of its own, as tests run at the same time. */
    async function freshSchema(name: string): Promise<{ url: string; pool: Pool } & AsyncDisposable> {
      await admin.query(`CREATE SCHEMA ${name}`);
      const url = new URL(postgres.url);
      url.searchParams.set("options", `-c search_path=${name}`);
      const pool = new Pool({ connectionString: String(url) });
      pool.on("error", () => {});
      await pool.query(`CREATE TABLE effect (message text NOT NULL, amount int NOT NULL);
        CREATE TABLE handled (message text PRIMARY KEY)`);
      const coord = createCoordinator({
        backend: postgresBackend({ client: pool }),
        namespace: "queue",
        cleanUp: false,
      });
      await coord.setup();
      await coord.close();
      return { url: String(url), pool, [Symbol.asyncDispose]: () => pool.end() };
    }

    /** Runs processes that die at these steps, one after another, then one that lives; answers what was applied how often. */
    async function applied(queue: TestQueue, way: string, steps: readonly string[]) {
      await using database = await freshSchema(way);
      await queue.fill(messages);
      const spawn = (killAt: string, after: number) =>
        child.start([server.url, database.url, queue.stream, way, killAt, String(after)]);
      for (const step of steps) {
        const worker = spawn(step, 1 + Math.floor((Math.random() * messages) / 8));
        const [, signal] = (await once(worker, "exit")) as [number | null, string | null];
        expect(signal).toBe("SIGKILL");
      }
      const last = spawn("never", 0);
      const count = async (): Promise<number> => {
        const { rows } = await database.pool.query<{ n: number }>(
          "SELECT count(DISTINCT message)::int AS n FROM effect",
        );
        return rows[0]?.n ?? 0;
      };
      await until(async () => (await count()) === messages && (await queue.pending()) === 0);
      last.send("stop");
      await once(last, "exit");
      const { rows } = await database.pool.query<{ twice: number; sum: number }>(
        "SELECT count(*)::int - count(DISTINCT message)::int AS twice, sum(amount)::int AS sum FROM effect",
      );
      return { ...rows[0], dead: await queue.dead() };
    }
    const sum = (messages * (messages - 1)) / 2;
    const everyStep = ["fetched", "written", "committed", "acknowledged"];

    test("with a marker in the transaction each message is applied once, wherever its process is killed", async () => {
      await using queue = server.queue();
      expect(await applied(queue, "marker", everyStep)).toEqual({ twice: 0, sum, dead: [] });
    });

    test("with once each message is applied once, wherever its process is killed", async () => {
      await using queue = server.queue();
      expect(await applied(queue, "once", ["written", "committed"])).toEqual({ twice: 0, sum, dead: [] });
    });

    test("without either, a kill between commit and acknowledgement applies messages twice", async () => {
      await using queue = server.queue();
      const { twice } = await applied(queue, "bare", ["committed"]);
      expect(twice).toBeGreaterThan(0);
    });

    test("a transaction whose message was claimed away meanwhile is rolled back, and nothing is acknowledged", async () => {
      await using queue = server.queue();
      const [id = ""] = await queue.fill(1);
      const ends: unknown[] = [];
      const session = async (work: (tx: string) => Promise<void>): Promise<void> => {
        await work("tx").then(
          () => ends.push("committed"),
          (error: unknown) => {
            ends.push(error);
            throw error;
          },
        );
      };
      void queue.consumer().run(
        async ({ signal }, tx: string) => {
          expect(tx).toBe("tx");
          await server.admin.xclaim(queue.stream, queue.group, "other", 0, id);
          await aborted(signal); // and then goes on as if nothing had happened
        },
        { session },
      );
      await until(() => ends.length === 1);
      expect(ends).toMatchObject([{ code: "COORD_LEASE_LOST", reason: "claimed" }]);
      expect(await queue.pendingRows()).toMatchObject([[id, "other", expect.any(Number), 2]]);
    });

    test("what a handler says of its message rolls back, and an acknowledgement before the commit is refused", async () => {
      await using queue = server.queue();
      await queue.fill(3);
      const ends: string[] = [];
      const session = async (work: (tx: null) => Promise<void>): Promise<void> => {
        await work(null).then(
          () => ends.push("commit"),
          (error: unknown) => {
            ends.push("rollback");
            throw error;
          },
        );
      };
      void queue.consumer({ concurrency: 1, maxDeliveries: 1 }).run(
        async (message) => {
          if (message.body === 0) await message.reject("unwanted");
          if (message.body === 1) await message.ack();
        },
        { session },
      );
      await until(() => ends.length === 3);
      await until(async () => (await queue.pending()) === 0);
      expect(ends).toEqual(["rollback", "rollback", "commit"]);
      const dead = await queue.dead();
      expect(dead.map(({ _reason }) => _reason)).toEqual(["rejected", "handler"]);
      expect(dead[1]?.["_error"]).toContain("before the commit");
    });
  },
);
