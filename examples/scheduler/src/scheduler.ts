/** One of three equal processes. Each stands for the office; whoever is elected runs the jobs that are due. */
import { setTimeout as sleep } from "node:timers/promises";
import { assertFenced, openCoordinator } from "@coord/core";
import type { Term } from "@coord/core";
import pg from "pg";

const url = process.env["COORD_URL"];
const say = (text: string): void => console.log(text);

const pool = new pg.Pool({ connectionString: url, max: 2 });
pool.on("error", () => {}); // A lost connection is replaced at the next query.
const coord = await openCoordinator({ url, namespace: "scheduler_example", defaults: { ttlMs: 3000 } });

async function schedule(term: Term): Promise<void> {
  say(`leads now, term …${String(term.fence).slice(-7)}`);
  for (;;) {
    const { rows } = await pool.query<{ name: string }>("SELECT name FROM job WHERE next_at <= now()");
    for (const { name } of rows) await run(name, term);
    await sleep(250, undefined, { signal: term.signal }); // Ends with the term.
  }
}

/** The table refuses a leader that stood still here and does not know yet that somebody else leads. */
async function run(name: string, term: Term): Promise<void> {
  const { rowCount, rows } = await pool.query<{ runs: number }>(
    `UPDATE job SET runs = runs + 1, next_at = now() + every, fence = $2
     WHERE name = $1 AND fence <= $2 RETURNING runs`,
    [name, term.fence],
  );
  assertFenced(term, rowCount);
  say(`runs ${name}, number ${rows[0]?.runs}`);
}

coord
  .elect("scheduler", {
    status: { version: "1.0.0" },
    onElected: schedule,
    onLost: (_, why) => say(`leads no more: ${why}`),
    onError: (error) => say(`was told: ${error instanceof Error ? error.message : String(error)}`),
  })
  .start();
say("stands by");

async function end(): Promise<void> {
  await coord.close(); // Resigns in order, so that the next one leads at once.
  await pool.end();
  process.exit();
}
process.once("SIGTERM", () => void end());
process.once("disconnect", () => void end());
