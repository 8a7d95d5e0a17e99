/** A process that takes a lease, says so, and holds it until it is killed. Arguments: url, namespace, key, ttlMs. */
import { mysqlBackend } from "../src/index.ts";
import { acquireRequest, call } from "./harness.ts";

const [url = "", namespace = "", key = "", ttlMs = "0"] = process.argv.slice(2);
const backend = mysqlBackend({ url });
const request = acquireRequest({ namespace, key }, { ttlMs: Number(ttlMs), holder: `pid ${process.pid}` });
const answer = await backend.acquire(request, call());
process.stdout.write(`${answer.outcome}\n`);
// Without a renewal; the gate is shut a moment later.
setTimeout(() => {}, 60_000);
