/** Holds a lease in a process of its own. Arguments: url, namespace, key, ttlMs. */
import { holdLease } from "@coord/conformance";
import { gcsBackend } from "../src/index.ts";

const [url = "", namespace = "", key = "", ttlMs = "0"] = process.argv.slice(2);
await holdLease(gcsBackend({ url }), { namespace, key, ttlMs: Number(ttlMs) });
