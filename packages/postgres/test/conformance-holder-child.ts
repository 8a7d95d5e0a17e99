/** Holds a lease in a process of its own. Arguments: url, schema, namespace, key, ttlMs. */
import { holdLease } from "@coord/conformance";
import { postgresBackend } from "../src/index.ts";

const [url = "", schema = "", namespace = "", key = "", ttlMs = "0"] = process.argv.slice(2);
await holdLease(postgresBackend({ url, schema }), { namespace, key, ttlMs: Number(ttlMs) });
