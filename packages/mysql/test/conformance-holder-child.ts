/** Holds a lease in a process of its own. Arguments: url, tablePrefix, namespace, key, ttlMs. */
import { holdLease } from "@coord/conformance";
import { mysqlBackend } from "../src/index.ts";

const [url = "", tablePrefix = "", namespace = "", key = "", ttlMs = "0"] = process.argv.slice(2);
await holdLease(mysqlBackend({ url, tablePrefix }), { namespace, key, ttlMs: Number(ttlMs) });
