import { isCoordError, type Grant, type Name } from "@coord/core";
import { type Proxy, start, startProxy } from "@coord/test-fixtures";
import { spawn } from "node:child_process";
import { inspect } from "node:util";
import pg from "pg";
import { afterAll, afterEach, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { acquireRequest, call, freshName, overruleRequest, releaseRequest, until } from "./harness.ts";

const password = "s3cret-p4ssword";
const server = await start("postgres");
const proxy: Proxy = await startProxy(server.url);
const pool = new pg.Pool({ connectionString: server.url, max: 4 });
const cutPool = new pg.Pool({ connectionString: proxy.url, max: 4 });
const sure = postgresBackend({ client: pool, listen: false });
const backend = postgresBackend({ client: cutPool, listen: false });
await sure.setup(call());

afterEach(() => proxy.heal());
afterAll(async () => {
  await pool.end();
  await cutPool.end();
  await proxy.stop();
  await server.stop();
});

async function hold(name: Name): Promise<Grant> {
  const request = acquireRequest(name);
  const result = await sure.acquire(request, call());
  if (result.outcome === "refused") throw new Error("refused");
  return { name, grantId: request.grantId, fence: result.fence };
}

/** The error of a promise that must reject. */
async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(`expected an error, got ${inspect(value)}`);
    },
    (error: unknown) => error,
  );
}

const urlFor = (user: string, secret = password): string => {
  const url = new URL(server.url);
  url.username = user;
  url.password = secret;
  return url.href;
};

test("a reply that is lost is unknown, and the same acquire asked again has the same grant", async () => {
  const request = acquireRequest(freshName());
  await backend.inspect(request.name, call());
  proxy.swallowReply();
  const error = await errorOf(backend.acquire(request, call()));
  expect(error).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: false });
  const stored = await sure.inspect(request.name, call());
  expect(stored?.state).toBe("held");
  expect(await backend.acquire(request, call())).toMatchObject({ outcome: "granted", fence: stored?.fence });
});

test("a release and an overrule whose reply is lost answer the same when asked again", async () => {
  const grant = await hold(freshName());
  await backend.inspect(grant.name, call());
  proxy.swallowReply();
  const release = releaseRequest(grant, { payload: "done" });
  await expect(backend.release(release, call())).rejects.toMatchObject({ code: "COORD_UNAVAILABLE" });
  expect(await backend.release(release, call())).toMatchObject({
    outcome: "released",
    record: { payload: "done" },
  });
  const other = await hold(freshName());
  await backend.inspect(other.name, call());
  proxy.swallowReply();
  const overrule = overruleRequest(other.name, other.fence);
  await expect(backend.overrule(overrule, call())).rejects.toMatchObject({ code: "COORD_UNAVAILABLE" });
  const stored = await sure.inspect(other.name, call());
  expect(await backend.overrule(overrule, call())).toEqual({ outcome: "overruled", fence: stored?.fence });
});

test("a refused connection and an exhausted pool did nothing, and say so", async () => {
  await proxy.refuse();
  await until("the pool has seen it", () => cutPool.totalCount === 0);
  const refused = await errorOf(backend.acquire(acquireRequest(freshName()), call()));
  expect(refused).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: true });
  const busy = new pg.Pool({ connectionString: server.url, max: 1 });
  const client = await busy.connect();
  const blocked = postgresBackend({ client: busy });
  const request = acquireRequest(freshName());
  const waited = await errorOf(blocked.acquire(request, call(200)));
  expect(waited).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: true });
  client.release();
  // The statement that was given up is not sent when the connection comes free.
  await until("the pool is idle", () => busy.idleCount === 1 && busy.waitingCount === 0);
  expect(await sure.inspect(request.name, call())).toBeNull();
  await busy.end();
});

test("an aborted call ends at once and its connection goes back when the statement is over", async () => {
  const grant = await hold(freshName());
  const client = await pool.connect();
  await client.query("BEGIN");
  await client.query("SELECT FROM coord.lease WHERE namespace = $1 FOR UPDATE", [grant.name.namespace]);
  const stop = new AbortController();
  const release = backend.release(releaseRequest(grant), { signal: stop.signal, timeoutMs: 20_000 });
  setTimeout(() => stop.abort(new Error("changed my mind")), 50);
  const startMs = performance.now();
  expect(await errorOf(release)).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: false });
  expect(performance.now() - startMs).toBeLessThan(5000);
  await client.query("ROLLBACK");
  client.release();
  await until("the connection is back", () => cutPool.idleCount === cutPool.totalCount);
  const given = AbortSignal.abort();
  const unsent = await errorOf(backend.release(releaseRequest(grant), { signal: given, timeoutMs: 1000 }));
  expect(unsent).toMatchObject({ notDone: true });
});

test("a paused server is unavailable within the time limit, and answers afterwards", async () => {
  const grant = await hold(freshName());
  await backend.inspect(grant.name, call());
  await server.faults?.pause();
  const startMs = performance.now();
  const error = await errorOf(backend.renew([{ ...grant, ttlMs: 60_000 }], call(500)));
  expect(performance.now() - startMs).toBeLessThan(10_000);
  await server.faults?.resume();
  expect(error).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: false });
  expect(await backend.renew([{ ...grant, ttlMs: 60_000 }], call())).toEqual(["renewed"]);
});

test("connections that drop while idle, or under way, are errors of calls and never of the process", async () => {
  const grants = await Promise.all(Array.from({ length: 4 }, () => hold(freshName())));
  await Promise.all(grants.map((grant) => backend.inspect(grant.name, call())));
  proxy.cut();
  await until("the pool has seen it", () => cutPool.totalCount === 0);
  proxy.stall();
  const under = grants.map((grant) => errorOf(backend.release(releaseRequest(grant), call())));
  await until("all are under way", () => proxy.connections === 4);
  proxy.cut();
  for (const error of await Promise.all(under)) expect(error).toMatchObject({ code: "COORD_UNAVAILABLE" });
  await proxy.heal();
  expect(await backend.inspect(freshName(), call())).toBeNull();
});

test("a server killed under load loses no grant that it acknowledged", async () => {
  const acknowledged: Grant[] = [];
  const failures: unknown[] = [];
  let isOver = false;
  const work = async (): Promise<void> => {
    for (;;) {
      if (isOver) return;
      const request = acquireRequest(freshName());
      try {
        const result = await sure.acquire(request, call(3000));
        if (result.outcome === "granted")
          acknowledged.push({ name: request.name, grantId: request.grantId, fence: result.fence });
      } catch (error) {
        failures.push(error);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  };
  const workers = [work(), work(), work(), work()];
  await until("some are granted", () => acknowledged.length > 20);
  await server.faults?.kill();
  await until("all have noticed", () => failures.length > 8);
  await server.faults?.restart();
  const count = acknowledged.length;
  await until("grants go on", () => acknowledged.length > count + 20);
  isOver = true;
  await Promise.all(workers);
  expect(failures.filter((error) => !isCoordError(error, "COORD_UNAVAILABLE"))).toEqual([]);
  const renewed = await sure.renew(
    acknowledged.map((grant) => ({ ...grant, ttlMs: 60_000 })),
    call(),
  );
  expect(new Set(renewed)).toEqual(new Set(["renewed"]));
}, 60_000);

test("a read-only server is unavailable, did nothing, and is told by diagnose", async () => {
  const readOnly = new pg.Pool({
    connectionString: server.url,
    options: "-c default_transaction_read_only=on",
  });
  const reading = postgresBackend({ client: readOnly, listen: false });
  const error = await errorOf(reading.acquire(acquireRequest(freshName()), call()));
  expect(error).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: true });
  const { findings } = await reading.diagnose(call());
  expect(findings).toContainEqual(
    expect.objectContaining({ level: "error", message: "transactions are read-only" }),
  );
  await readOnly.end();
});

test("a wrong password, a wrong database and a wrong host are named without the secret", async () => {
  const direct = await start("postgres", { settings: { password_encryption: "scram-sha-256" } });
  const admin = new pg.Client(direct.url);
  await admin.connect();
  await admin.query(`CREATE ROLE app LOGIN PASSWORD '${password}'`);
  const { rows } = await admin.query("SHOW hba_file");
  await admin.query(
    `COPY (SELECT 'host all postgres 127.0.0.1/32 trust' UNION ALL SELECT 'host all all 127.0.0.1/32 scram-sha-256') TO '${rows[0].hba_file}'`,
  );
  await admin.query("SELECT pg_reload_conf()");
  const url = new URL(direct.url);
  url.username = "app";
  url.password = `wrong-${password}`;
  await until("the rules apply", async () =>
    isCoordError(
      await postgresBackend({ url: url.href, listen: false })
        .inspect(freshName(), call())
        .catch((error: unknown) => error),
      "COORD_CONFIGURATION",
    ),
  );
  const urls = [
    url.href,
    url.href.replace("/postgres", "/nowhere"),
    url.href.replace(/@[^/]*/, "@no-such-host.invalid:1"),
  ];
  for (const each of urls) {
    const wrong = postgresBackend({ url: each });
    for (const error of [
      await errorOf(wrong.inspect(freshName(), call())),
      await errorOf(wrong.setup(call())),
    ]) {
      expect(isCoordError(error)).toBe(true);
      expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(password);
    }
    await expect(wrong.watch?.(freshName(), () => {}, call())).rejects.toThrow(/./);
    await wrong.close();
  }
  await admin.end();
  await direct.stop();
}, 30_000);

test("a missing table is COORD_NOT_SET_UP and says how, also after the table was dropped", async () => {
  const missing = postgresBackend({ client: pool, schema: "nowhere", listen: false });
  const calls = [
    () => missing.acquire(acquireRequest(freshName()), call()),
    () => missing.renew([{ name: freshName(), grantId: "g", fence: 1n, ttlMs: 1000 }], call()),
    () => missing.inspect(freshName(), call()),
    () => missing.prune({ limit: 1 }, call()),
  ];
  for (const each of calls) {
    expect(await errorOf(each())).toMatchObject({
      code: "COORD_NOT_SET_UP",
      message: expect.stringContaining("setup()"),
    });
  }
  expect((await missing.diagnose(call())).findings).toContainEqual(
    expect.objectContaining({ level: "error", remedy: expect.stringContaining("setup()") }),
  );
  await missing.setup(call());
  const name = freshName();
  expect(await missing.acquire(acquireRequest(name), call())).toMatchObject({ outcome: "granted" });
  await pool.query("DROP SCHEMA nowhere CASCADE");
  expect(await errorOf(missing.inspect(name, call()))).toMatchObject({ code: "COORD_NOT_SET_UP" });
});

test("an ended pool did nothing", async () => {
  const ended = new pg.Pool({ connectionString: urlFor("postgres", "") });
  await ended.end();
  const late = postgresBackend({ client: ended, listen: false });
  expect(await errorOf(late.inspect(freshName(), call()))).toMatchObject({
    code: "COORD_UNAVAILABLE",
    notDone: true,
  });
});

test("after close nothing keeps the process", async () => {
  const program = `
    import { postgresBackend } from "@coord/postgres";
    const backend = postgresBackend({ url: process.argv[1] });
    const call = () => ({ signal: AbortSignal.timeout(5000), timeoutMs: 5000 });
    const name = { namespace: "leak", key: "k" };
    await backend.inspect(name, call());
    const subscription = await backend.watch(name, () => {}, call());
    await subscription.close();
    await backend.close();
    await backend.close();
    console.log("closed");
  `;
  const args = [
    "--conditions=source",
    "--import",
    "tsx",
    "--input-type=module",
    "--eval",
    program,
    server.url,
  ];
  const child = spawn(process.execPath, args, {
    cwd: new URL("..", import.meta.url),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: Buffer[] = [];
  let closedAtMs = Number.POSITIVE_INFINITY;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output.push(chunk);
      closedAtMs = performance.now();
    });
  }
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect(Buffer.concat(output).toString()).toBe("closed\n");
  expect(code).toBe(0);
  expect(performance.now() - closedAtMs).toBeLessThan(2000);
}, 30_000);
