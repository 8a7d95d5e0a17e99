/**
 * A candidate whose leader writes to a table all the time, without a look at the clock before a write: between
 * deciding to write and writing it may stand still for any time. Arguments: the URLs of the store and of the
 * database written to, the namespace, the ttl, and the name of a mutant or nothing.
 */
import { type Backend, openCoordinator, type Term } from "@coord/core";
import { redisStreamsBackend } from "@coord/redis-streams";
import pg from "pg";
import { postgresBackend } from "../src/index.ts";
import type { FromCandidate, ToCandidate } from "./election-processes.ts";

const [storeUrl = "", tableUrl = "", namespace = "", ttl = "", mutant = ""] = process.argv.slice(2);
const ttlMs = Number(ttl);
const writeEveryMs = 10;
const lagEveryMs = 25;

const write = `
  WITH written AS (
    UPDATE led SET fence = $1, writes = writes + 1
    WHERE id = 1 ${mutant === "unfenced" ? "" : "AND fence <= $1"}
    RETURNING writes
  )
  INSERT INTO led_log (n, fence, writer) SELECT writes, $1, $2 FROM written`;

const say = (message: FromCandidate): void => {
  process.send?.(message);
};

/** Set while the parent wants the next write to wait for its word. */
let hold = false;
let go: (() => void) | undefined;

/** How long the process did not get to run, at the most, since it was last asked. */
let lagMs = 0;
let lastTick = performance.now();
setInterval(() => {
  const now = performance.now();
  lagMs = Math.max(lagMs, now - lastTick - lagEveryMs);
  lastTick = now;
}, lagEveryMs).unref();

const table = new pg.Client({ connectionString: tableUrl });
table.on("error", () => {});
await table.connect();

/** A leader that believes that it was renewed, and asks nobody. */
const deaf = (backend: Backend): Backend => ({
  ...backend,
  renew: async (requests) => requests.map(() => "renewed" as const),
});
const changed = (backend: Backend): Backend => (mutant === "deaf" ? deaf(backend) : backend);
const coord = await openCoordinator(
  { url: storeUrl, namespace, cleanUp: false, defaults: { ttlMs } },
  {
    backends: {
      postgres: (url) => changed(postgresBackend({ url })),
      redis: (url) => changed(redisStreamsBackend({ url })),
    },
  },
);

async function lead(term: Term): Promise<void> {
  const fence = String(term.fence);
  lagMs = 0;
  term.signal.addEventListener("abort", () => {
    const standingStillMs = Math.max(lagMs, performance.now() - lastTick - lagEveryMs);
    say({ told: "ended", fence, at: Date.now(), lagMs: standingStillMs });
  });
  say({ told: "elected", fence, at: Date.now() });
  while (!term.signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, writeEveryMs));
    if (hold) {
      say({ told: "poised", fence, at: Date.now() });
      await new Promise<void>((resolve) => (go = resolve));
    }
    const { rowCount } = await table.query(write, [term.fence, election.id]);
    if (rowCount === 0) say({ told: "refused", fence, at: Date.now() });
  }
  say({ told: "settled", fence, at: Date.now() });
}

const election = coord.elect("writer", { onElected: lead, status: { version: "1" } });

process.on("message", (told: ToCandidate) => {
  if (told === "resign") void election.resign();
  if (told === "stop") void election.stop();
  hold = told === "hold";
  if (!hold) go?.();
});
process.on("disconnect", () => process.exit());
election.start();
say({ told: "ready", id: election.id });
await election.done;
await coord.close();
await table.end();
process.disconnect?.();
