/**
 * A process that makes one transfer and is killed (-9) at a step, or so many milliseconds after it began. Arguments:
 * url, namespace, the order as JSON, the step or the milliseconds, whether the answer commits with the transfer.
 */
import { createCoordinator } from "@coord/core";
import pg from "pg";
import { postgresBackend } from "../src/index.ts";
import { type Order, type Point, transfer } from "./once-transfer.ts";

const [url = "", namespace = "", text = "", at = "", together = ""] = process.argv.slice(2);
const order: Order = JSON.parse(text);
const die = (): void => void process.kill(process.pid, "SIGKILL");
/** For ever, as there is nothing after it. */
const dead = (): Promise<never> => new Promise(die);

const pool = new pg.Pool({ connectionString: url, max: 3 });
pool.on("error", () => {});
const backend = postgresBackend({ client: pool, listen: false });
const coord = createCoordinator({ backend, namespace, cleanUp: false });

async function step(point: Point): Promise<void> {
  // The COMMIT has to leave this process.
  if (point === "committing" && at === point) await new Promise((resolve) => setImmediate(resolve));
  if (at === point) await dead();
}

await backend.inspect({ namespace, key: "warm" }, { signal: AbortSignal.timeout(5000), timeoutMs: 5000 });
if (Number(at) >= 0) setTimeout(die, Number(at));
await coord.once(order.id, { input: order, ttlMs: 3000 }, async (input, execution) => {
  const receipt = await transfer(input, execution, { pool, backend, together: together === "yes", step });
  if (at === "returned") setImmediate(die); // while its outcome is being looked up
  return receipt;
});
await step("answered");
// It was done sooner than the milliseconds.
await dead();
