/** One of the processes that book payments: `worker.ts REDIS_URL DATABASE_URL`. */
import { createConsumer } from "@coord/redis-streams/consumer";
import { insertIdempotent, type Session, transaction } from "@coord/sql";
import { Pool } from "pg";
import { claimAfterMs, group, payment, stream } from "./payment.ts";

const [url = "", connectionString = ""] = process.argv.slice(2);
const pool = new Pool({ connectionString, max: 4 });
pool.on("error", (error) => console.error("database:", error.message));

const consumer = createConsumer({
  url,
  stream,
  group,
  schema: payment,
  claimAfterMs,
  concurrency: 4,
  maxDeliveries: 3,
  retry: { minMs: 100 },
});
process.once("SIGTERM", () => void consumer.stop({ graceMs: 5000 }));

await consumer.run(
  async (message, session: Session) => {
    const marker = { message: message.key };
    if ((await insertIdempotent(session, "booked", marker, { key: ["message"] })) === "exists") return;
    const { account, cents } = message.body;
    if (account === "closed") throw new Error("this account is closed");
    await session.execute("UPDATE account SET cents = cents + :cents WHERE name = :account", {
      account,
      cents,
    });
    await new Promise((resolve) => setTimeout(resolve, 20)); // the rest of the work
  },
  { session: (work) => transaction(pool, work) },
);
await pool.end();
