import { start } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, expect, test } from "vitest";
import { postgresBackend, schemaSql } from "../src/index.ts";
import { acquireRequest, call, freshName, releaseRequest } from "./harness.ts";

const server = await start("postgres");
const pool = new pg.Pool({ connectionString: server.url, max: 20 });
afterAll(async () => {
  await pool.end();
  await server.stop();
});

const shape = async (schema: string, table: string) => {
  const columns = await pool.query(
    `SELECT column_name, data_type, is_nullable, collation_name, generation_expression FROM information_schema.columns
     WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position`,
    [schema, table],
  );
  const { rows } = await pool.query(
    `SELECT c.reloptions, obj_description(c.oid, 'pg_class') AS layout,
       (SELECT count(*)::int FROM pg_index WHERE indrelid = c.oid) AS indexes
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
    [schema, table],
  );
  return { columns: columns.rows, ...rows[0] };
};

test("twenty set-ups at once make one table, and later ones change nothing", async () => {
  const backends = Array.from({ length: 20 }, () =>
    postgresBackend({ client: pool, schema: "many", listen: false }),
  );
  await Promise.all(backends.map((each) => each.setup(call())));
  await backends[0]?.setup(call());
  expect(await shape("many", "lease")).toMatchObject({ indexes: 2, layout: "coord lease table, layout 1" });
});

test("the text for migrations makes the same table as setup", async () => {
  await postgresBackend({ client: pool, schema: "by_setup", listen: false }).setup(call());
  await pool.query(schemaSql({ schema: "by_text", table: "leases" }));
  expect(await shape("by_text", "leases")).toEqual(await shape("by_setup", "lease"));
  await postgresBackend({ client: pool, schema: "by_text", table: "leases", listen: false }).setup(call());
});

test.each([
  ['quo"ted', "ta'ble"],
  ["back\\slash", "dol$$lar $body$"],
  ["sp ace; --", "UPPER ünï"],
  ["s".repeat(63), "t".repeat(63)],
])("schema %j and table %j are names like any other", async (schema, table) => {
  const backend = postgresBackend({ client: pool, schema, table });
  await backend.setup(call());
  await backend.setup(call());
  const request = acquireRequest(freshName());
  expect(await backend.acquire(request, call())).toMatchObject({ outcome: "granted" });
  const wakes: string[] = [];
  const subscription = await backend.watch?.(request.name, () => wakes.push("wake"), call());
  await subscription?.close();
  await backend.release(releaseRequest({ ...request, fence: null }), call());
  expect((await backend.diagnose(call())).findings.filter(({ level }) => level === "error")).toEqual([]);
  await backend.close();
});

test("the text for migrations holds names with quotes too", async () => {
  const names = { schema: `te"xt's`, table: `ta\\"ble'` };
  await pool.query(schemaSql(names));
  const backend = postgresBackend({ client: pool, ...names, listen: false });
  await backend.setup(call());
  expect(await backend.acquire(acquireRequest(freshName()), call())).toMatchObject({ outcome: "granted" });
});

test("a table of somebody else is refused, with what to do", async () => {
  await pool.query("CREATE SCHEMA taken; CREATE TABLE taken.lease (id int)");
  const backend = postgresBackend({ client: pool, schema: "taken", listen: false });
  await expect(backend.setup(call())).rejects.toMatchObject({
    code: "COORD_CONFIGURATION",
    message: expect.stringContaining("choose another"),
  });
  await expect(backend.inspect(freshName(), call())).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
});

test("a role with the rights of the README works, also through setup, and learns what it lacks", async () => {
  await postgresBackend({ client: pool, schema: "rights", listen: false }).setup(call());
  await pool.query(`CREATE ROLE app LOGIN; CREATE ROLE guard_only LOGIN;
    GRANT USAGE ON SCHEMA rights TO app, guard_only;
    GRANT SELECT, INSERT, UPDATE ON rights.lease TO app;
    GRANT SELECT (namespace, key, grant_id, fence, expires_at), UPDATE (wanted_until) ON rights.lease TO guard_only`);
  const as = (user: string) => {
    const url = new URL(server.url);
    url.username = user;
    return new pg.Pool({ connectionString: url.href });
  };
  const [app, guardOnly] = [as("app"), as("guard_only")];
  const backend = postgresBackend({ client: app, schema: "rights" });
  await backend.setup(call());
  const request = acquireRequest(freshName());
  const result = await backend.acquire(request, call());
  if (result.outcome === "refused") throw new Error("refused");
  const grant = { name: request.name, grantId: request.grantId, fence: result.fence };
  await (await backend.watch?.(request.name, () => {}, call()))?.close();
  expect(await backend.renew([{ ...grant, ttlMs: 60_000 }], call())).toEqual(["renewed"]);
  const guarded = postgresBackend({ client: guardOnly, schema: "rights", listen: false });
  await guarded.within(guardOnly).verify({ grant });
  expect(await backend.release(releaseRequest(grant), call())).toEqual({ outcome: "released" });
  await expect(backend.prune({ limit: 1 }, call())).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
  expect((await backend.diagnose(call())).findings).toContainEqual(
    expect.objectContaining({ level: "warning", message: expect.stringContaining("DELETE") }),
  );
  await backend.close();
  await app.end();
  await guardOnly.end();
});

test("diagnose finds what would break the promise", async () => {
  const backend = postgresBackend({ client: pool, schema: "ill", listen: false });
  await backend.setup(call());
  const sound = await backend.diagnose(call());
  expect(sound.findings.filter(({ level }) => level === "error")).toEqual([]);
  expect(sound.clock.storeMs).toBeGreaterThan(sound.clock.beforeMs - 1000);
  expect(sound.clock.storeMs).toBeLessThan(sound.clock.afterMs + 1000);
  await pool.query(`ALTER TABLE ill.lease SET UNLOGGED;
    ALTER TABLE ill.lease ALTER COLUMN key TYPE text COLLATE "en-x-icu"; COMMENT ON TABLE ill.lease IS 'layout 9'`);
  const weak = new pg.Pool({ connectionString: server.url, options: "-c synchronous_commit=off" });
  const ill = postgresBackend({ client: weak, schema: "ill", listen: false });
  const errors = (await ill.diagnose(call())).findings.filter(({ level }) => level === "error");
  for (const word of ["UNLOGGED", "collation", "layout 9", "synchronous_commit"]) {
    expect(errors).toContainEqual(expect.objectContaining({ message: expect.stringContaining(word) }));
  }
  for (const { remedy } of errors) expect(remedy).toBeTruthy();
  await expect(ill.setup(call())).rejects.toMatchObject({ code: "COORD_CONFIGURATION" });
  await weak.end();
});
