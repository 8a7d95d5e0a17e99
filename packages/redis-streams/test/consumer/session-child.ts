/** One process of `session.test.ts`: applies messages to an account, and kills itself at the step it is told. */
import { createCoordinator, unwrap } from "@coord/core";
import { postgresBackend } from "@coord/postgres";
import { insertIdempotent, type Session, transaction } from "@coord/sql";
import { Pool } from "pg";
import { subscribe } from "node:diagnostics_channel";
import { createConsumer, type Message, type QueueEvent } from "../../src/consumer/index.ts";

const [redis = "", postgres = "", stream = "", way = "", killAt = "", after = "1"] = process.argv.slice(2);
const pool = new Pool({ connectionString: postgres, max: 8 });
pool.on("error", () => {});
let passed = 0;

/** Dies when it passes this step for the `after`-th time. */
function step(name: string): void {
  if (name === killAt && (passed += 1) === Number(after)) process.kill(process.pid, "SIGKILL");
}

const consumer = createConsumer<number>({
  url: redis,
  stream,
  group: "workers",
  consumer: "worker", // what was pending comes first after a restart
  concurrency: 8,
  retry: { minMs: 100, maxMs: 300 },
  maxDeliveries: 100,
});
subscribe("coord:queue", (event) => {
  if ((event as QueueEvent).event === "acked") step("acknowledged");
});
process.on("message", () => void consumer.stop());

async function apply(message: Message<number>, session: Session): Promise<void> {
  await session.execute("INSERT INTO effect (message, amount) VALUES ($1, $2)", [message.id, message.body]);
  step("written");
}

const committed = async (work: (session: Session) => Promise<void>): Promise<void> => {
  await transaction(pool, work);
  step("committed");
};

if (way === "once") {
  const backend = postgresBackend({ client: pool });
  const coord = createCoordinator({ backend, namespace: "queue", cleanUp: false, defaults: { ttlMs: 1500 } });
  await consumer.run(async (message) => {
    step("fetched");
    // The answer commits with the effect: what is not recorded did not happen, so it may run again.
    const result = await coord.once(message.key, { onUncertain: "rerun" }, async (_, execution) => {
      const client = await pool.connect();
      try {
        await client.query("BEGIN");
        await client.query("INSERT INTO effect (message, amount) VALUES ($1, $2)", [
          message.id,
          message.body,
        ]);
        step("written");
        await execution.complete(true, { within: backend.within(client) });
        await client.query("COMMIT");
        client.release();
        step("committed");
        return true;
      } catch (error) {
        client.release(true); // rolls back
        throw error;
      }
    });
    unwrap(result);
  });
  await coord.close();
} else {
  await consumer.run(
    async (message, session: Session) => {
      step("fetched");
      if (way === "marker") {
        const marker = { message: message.key };
        const marked = await insertIdempotent(session, "handled", marker, { key: ["message"] });
        if (marked === "exists") return;
      }
      await apply(message, session);
    },
    { session: committed },
  );
}
await pool.end();
process.disconnect();
