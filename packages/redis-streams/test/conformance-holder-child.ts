/** Holds a lease in a process of its own. Arguments: url, partitions, namespace, key, ttlMs. */
import { holdLease } from "@coord/conformance";
import { redisStreamsBackend } from "../src/index.ts";

const [url = "", partitions = "1", namespace = "", key = "", ttlMs = "0"] = process.argv.slice(2);
const backend = redisStreamsBackend({ url, partitions: Number(partitions) });
await holdLease(backend, { namespace, key, ttlMs: Number(ttlMs) });
