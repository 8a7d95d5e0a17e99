/**
 * What each strategy costs, under low and under high contention: `node --conditions=source --import tsx
 * packages/sql/bench/strategies.ts [seconds per cell]`. Prints a table in Markdown.
 *
 * Sixteen clients in one process add one to a balance, each with 1 ms of thought between its read and its write; each
 * at a row of its own, or all at one. The server is on the same machine, with its defaults.
 */
import { subscribe } from "node:diagnostics_channel";
import { cpus, loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { type Coordinator, createCoordinator } from "@coord/core";
import { start } from "@coord/test-fixtures";
import { fencedUpdate, insertIdempotent, type SqlPool, transaction } from "../src/index.ts";
import { type Flavor, openPool, type TestPool } from "../test/pools.ts";
import { addOne, strategies } from "../test/strategies.ts";

const clients = 16;
const thoughtMs = 1;
const secondsPerCell = Number(process.argv[2] ?? 3);

/** One unit of work on one row. */
type Work = (id: number) => Promise<void>;

interface Contender {
  readonly name: string;
  readonly work: Work;
}

const think = (): Promise<void> => sleep(thoughtMs);

function contenders(pool: SqlPool, table: string, coord: Coordinator): Contender[] {
  let request = 0;
  return [
    ...strategies.map((name) => ({ name, work: (id: number) => addOne(pool, table, name, think, id) })),
    {
      name: "idempotent insert",
      work: async () => {
        await think();
        const values = { id: ++request, account: 1 };
        await transaction(pool, (session) =>
          insertIdempotent(session, `${table}_requests`, values, { key: ["id"] }),
        );
      },
    },
    {
      name: "lease, fenced write",
      work: (id) =>
        coord.withLease(`account:${id}`, async (lease) => {
          await think();
          await transaction(pool, async (session) => {
            const row = await session.fetchOne<{ balance: number }>(
              `SELECT balance FROM ${table} WHERE id = :id`,
              { id },
            );
            const balance = (row?.balance ?? 0) + 1;
            await fencedUpdate(session, lease, table, { where: { id }, set: { balance } });
          });
        }),
    },
  ];
}

const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

let retries = 0;
const isRetry = (event: unknown): boolean =>
  typeof event === "object" && event !== null && "kind" in event && event.kind === "occ-retry";
subscribe("coord:sql", (event) => {
  if (isRetry(event)) retries++;
});

/** Runs all clients for the time of a cell. */
async function measure(
  db: TestPool,
  table: string,
  { name, work }: Contender,
  sameRow: boolean,
): Promise<string> {
  await db.query(`UPDATE ${table} SET balance = 0, version = 1, fence = 0`);
  await Promise.all(Array.from({ length: clients }, (_, i) => work(sameRow ? 1 : i + 1)));
  await db.query(`UPDATE ${table} SET balance = 0, version = 1`);
  retries = 0;
  const tookMs: number[] = [];
  const startedAt = performance.now();
  const endsAt = startedAt + secondsPerCell * 1000;
  await Promise.all(
    Array.from({ length: clients }, async (_, i) => {
      while (performance.now() < endsAt) {
        const from = performance.now();
        await work(sameRow ? 1 : i + 1);
        tookMs.push(performance.now() - from);
      }
    }),
  );
  const seconds = (performance.now() - startedAt) / 1000;
  const [row] = await db.query(`SELECT sum(balance) AS total FROM ${table}`);
  const isCounted = name !== "idempotent insert";
  const lost = isCounted ? tookMs.length - Number(row?.["total"]) : 0;
  const sorted = tookMs.toSorted((a, b) => a - b);
  const perWork = (count: number): string => (count / tookMs.length).toFixed(2);
  const cells = [
    name,
    (tookMs.length / seconds).toFixed(0),
    quantile(sorted, 0.5).toFixed(1),
    quantile(sorted, 0.99).toFixed(1),
    name === "occ" ? perWork(retries) : "",
    isCounted ? String(lost) : "",
  ];
  return `| ${cells.join(" | ")} |`;
}

for (const flavor of ["postgres", "mysql"] satisfies Flavor[]) {
  const server = await (flavor === "postgres" ? start("postgres") : start("mysql", { flavor }));
  // An advisory lock and its transaction take a connection each.
  const db = openPool(flavor, server.url, 2 * clients + 4);
  const table = "account";
  await db.query(
    `CREATE TABLE ${table} (id int PRIMARY KEY, balance int NOT NULL, version bigint NOT NULL DEFAULT 1, fence bigint NOT NULL DEFAULT 0)`,
  );
  await db.query(`CREATE TABLE ${table}_requests (id bigint PRIMARY KEY, account int NOT NULL)`);
  for (let id = 1; id <= clients; id++)
    await db.query(`INSERT INTO ${table} (id, balance) VALUES (${id}, 0)`);
  const coord = createCoordinator({
    backend: db.backend(),
    namespace: "bench",
    defaults: { waitMs: 60_000 },
  });
  await coord.setup();
  for (const sameRow of [false, true]) {
    console.log(`\n${flavor} ${server.version}, ${sameRow ? "high contention" : "low contention"}\n`);
    console.log("| strategy | done/s | p50 ms | p99 ms | retries each | lost |");
    console.log("| --- | --- | --- | --- | --- | --- |");
    for (const contender of contenders(db.pool, table, coord))
      console.log(await measure(db, table, contender, sameRow));
    await db.query(`DELETE FROM ${table}_requests`);
  }
  await coord.close({ graceMs: 0 });
  await db.end();
  await server.stop();
}
console.log(
  `\n${cpus().length} cores, load ${loadavg()
    .map((load) => load.toFixed(1))
    .join(" ")}`,
);
