/**
 * A transfer that is killed (-9) at every step, and then called again by somebody else, with the answer committed in
 * the transfer's own transaction. `COORD_TRANSFER_ROUNDS=1000` runs so many, in ten to twenty minutes.
 */
import { spawn } from "node:child_process";
import { type Completed, createCoordinator } from "@coord/core";
import { start } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, describe, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { freshName } from "./harness.ts";
import { bundled } from "./once-bundle.ts";
import { seeded } from "./once-random.ts";
import { type Order, type Point, points, schema, transfer, type TransferReceipt } from "./once-transfer.ts";

const rounds = Number(process.env["COORD_TRANSFER_ROUNDS"] ?? 14);
const accounts = 8;
const initial = 1_000_000n;

const [server, program] = await Promise.all([start("postgres"), bundled("once-transfer-child.ts")]);
const pool = new pg.Pool({ connectionString: server.url, max: 20 });
pool.on("error", () => {});
const backend = postgresBackend({ client: pool });
const { namespace } = freshName();
const coord = createCoordinator({ backend, namespace, cleanUp: false });
await coord.setup();
await pool.query(schema);
await pool.query("INSERT INTO account SELECT id, $1 FROM generate_series(0, $2) id", [initial, accounts - 1]);

afterAll(async () => {
  await coord.close();
  await pool.end();
  await server.stop();
});

/** A process that makes the transfer and dies; how it ended. */
async function dyingProcess(order: Order, at: Point | number, together: boolean): Promise<string> {
  const args = [server.url, namespace, JSON.stringify(order), String(at), together ? "yes" : "no"];
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  return new Promise((resolve) => child.once("close", (_, signal) => resolve(signal ?? said)));
}

/**
 * The next caller. The transfer is all that the function does, and it commits with the answer or not at all: so what
 * is not completed is not done, and will not be done any more once the probe's answer has raised the fence.
 */
async function callAgain(order: Order, together: boolean): Promise<Completed<TransferReceipt>> {
  const probe = () => ({ status: "not-done" }) as const;
  const paid = await coord.once(
    order.id,
    { input: order, ttlMs: 3000, waitMs: 120_000, probe },
    (input, execution) => transfer(input, execution, { pool, backend, together, step: () => undefined }),
  );
  if (paid.status !== "completed") throw new Error(`${order.id} is ${paid.status}`);
  return paid;
}

const entriesOf = async (id: string): Promise<number> =>
  (await pool.query("SELECT FROM entry WHERE transfer = $1", [id])).rowCount ?? 0;

async function balances(): Promise<bigint[]> {
  const { rows } = await pool.query<{ balance: string }>("SELECT balance FROM account ORDER BY id");
  return rows.map(({ balance }) => BigInt(balance));
}

const orderOf = (id: string, random: () => number): Order => {
  const from = Math.floor(random() * accounts);
  const to = (from + 1 + Math.floor(random() * (accounts - 1))) % accounts;
  return { id, from, to, amount: 1 + Math.floor(random() * 100) };
};

/** Runs all of them, a few at a time. */
async function inLanes<T>(
  items: readonly T[],
  lanes: number,
  run: (item: T) => Promise<void>,
): Promise<void> {
  const rest = [...items];
  const lane = async (): Promise<void> => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await run(item);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

describe("a transfer killed at every step", () => {
  const random = seeded(Number(process.env["COORD_TRANSFER_SEED"] ?? 6));
  // Each step in turn, and every fourth one at any time from before the claim until after the answer.
  const killed = Array.from({ length: rounds }, (_, round) => ({
    order: orderOf(`transfer ${round}`, random),
    at:
      round >= points.length && round % 4 === 0
        ? Math.floor(random() * 40)
        : (points[round % points.length] ?? 0),
  }));
  const attempts = new Map<string, Set<string>>();

  test(
    `is done exactly once, ${rounds} times, and the money is right`,
    async () => {
      const recovering: Promise<void>[] = [];
      await inLanes(killed, 3, async ({ order, at }) => {
        expect(await dyingProcess(order, at, true)).toBe("SIGKILL");
        recovering.push(
          callAgain(order, true).then(({ response, replayed, attempt }) => {
            expect(response).toEqual({ id: order.id, amount: order.amount });
            const point = typeof at === "number" ? "any time" : at;
            const seen = attempts.get(point) ?? new Set();
            attempts.set(point, seen.add(`${replayed ? "replayed" : "ran"} in attempt ${attempt}`));
          }),
        );
        recovering.at(-1)?.catch(() => {}); // seen below
      });
      await Promise.all(recovering);
      const expected = Array.from({ length: accounts }, () => initial);
      for (const { order } of killed) {
        expected[order.from] = (expected[order.from] ?? 0n) - BigInt(order.amount);
        expected[order.to] = (expected[order.to] ?? 0n) + BigInt(order.amount);
      }
      expect(await balances()).toEqual(expected);
      const { rows } = await pool.query("SELECT transfer, amount FROM entry ORDER BY transfer");
      const ledger = killed.map(({ order }) => ({ transfer: order.id, amount: order.amount }));
      expect(rows).toEqual(ledger.toSorted((a, b) => (a.transfer < b.transfer ? -1 : 1)));
      for (const { order } of killed.slice(0, 100)) {
        expect(await callAgain(order, true)).toMatchObject({ replayed: true });
        expect(await coord.executions.get(order.id)).toMatchObject({ status: "completed" });
      }
      const told = [...points, ...(attempts.has("any time") ? ["any time"] : [])].map(
        (point) => `  ${point}: ${[...(attempts.get(point) ?? [])].join(", ")}`,
      );
      process.stdout.write(`once: ${rounds} transfers killed; the next caller\n${told.join("\n")}\n`);
    },
    60_000 + rounds * 3000,
  );

  test("what was killed before the commit ran again, what was killed after it was replayed", () => {
    const of = (point: Point): string[] => [...(attempts.get(point) ?? [])];
    for (const point of points.slice(0, points.indexOf("committing")))
      expect([point, of(point)]).toEqual([point, ["ran in attempt 2"]]);
    for (const point of points.slice(points.indexOf("committed")))
      expect([point, of(point)]).toEqual([point, ["replayed in attempt 1"]]);
  });

  test("without the answer in the transaction the same check finds money moved twice, so it can find it", async () => {
    const order = orderOf("apart", random);
    expect(await dyingProcess(order, "committed", false)).toBe("SIGKILL");
    await callAgain(order, false);
    expect(await entriesOf(order.id)).toBe(2);
  });
});
