/** `pnpm demo [--backend memory|postgres|mysql|redis|mongodb|gcs]`; with COORD_URL set, on that store. */
import { parseArgs } from "node:util";
import { memoryBackend, openCoordinator } from "@coord/core";
import { start } from "@coord/test-fixtures";
import pg from "pg";
import { createPostgresAccount, localAccount, postgresAccount } from "./account.ts";
import type { Account } from "./account.ts";
import { tell } from "./story.ts";

const kinds = ["postgres", "mysql", "redis", "mongodb", "gcs"] as const;
const startBalance = 100;

const { values } = parseArgs({ options: { backend: { type: "string" } } });
const configured = process.env["COORD_URL"];
const wanted = values.backend ?? (configured === undefined ? "postgres" : undefined);
const kind = kinds.find((each) => each === wanted);
if (wanted !== undefined && wanted !== "memory" && kind === undefined) {
  console.error(`--backend must be one of memory, ${kinds.join(", ")}, got ${wanted}.`);
  process.exit(2);
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);
const server = kind === undefined ? undefined : await start(kind);
const url = server?.url ?? (wanted === "memory" ? "memory:" : (configured ?? "memory:"));
const namespace = `demo_${Date.now().toString(36)}`;
const scheme = url.slice(0, url.indexOf(":"));
print(
  `Leases are kept by ${scheme}${server === undefined ? "" : ` ${server.version}, started for this demo`}.`,
);

/** The account, put back to its start: a row where the store is PostgreSQL, else kept by this process. */
let account: Account = localAccount(startBalance);
const pool = scheme.startsWith("postgres") ? new pg.Pool({ connectionString: url, max: 1 }) : undefined;
async function reset(): Promise<Account> {
  if (pool === undefined) account = localAccount(startBalance);
  else {
    await createPostgresAccount(pool, startBalance);
    account = postgresAccount(pool);
  }
  return account;
}

const memory = memoryBackend();
const call = { signal: new AbortController().signal, timeoutMs: 5000 };
const targets = {
  acquire: (request: Parameters<typeof memory.acquire>[0]) => memory.acquire(request, call),
  renew: (requests: Parameters<typeof memory.renew>[0]) => memory.renew(requests, call),
  release: (request: Parameters<typeof memory.release>[0]) => memory.release(request, call),
  inspect: (name: Parameters<typeof memory.inspect>[0]) => memory.inspect(name, call),
  overrule: (request: Parameters<typeof memory.overrule>[0]) => memory.overrule(request, call),
  list: (request: Parameters<typeof memory.list>[0]) => memory.list(request, call),
  prune: (request: Parameters<typeof memory.prune>[0]) => memory.prune(request, call),
  diagnose: () => memory.diagnose(call),
  read: () => account.read(),
  write: (balance: number, fence: bigint | null) => account.write(balance, fence),
};

try {
  if (url !== "memory:") {
    // A store on object storage takes leases of 15 s and more.
    const coord = await openCoordinator({ url, namespace, cleanUp: false });
    await coord.setup();
    await coord.close();
  }
  const ttlMs = scheme === "gs" ? 15_000 : 2000;
  const scene = { url, namespace, ttlMs, account, targets, print };
  const { unfenced, fenced } = await tell(scene, reset);
  process.exitCode = unfenced === 150 && fenced === 180 ? 0 : 1;
} finally {
  await pool?.end();
  await server?.stop();
}
