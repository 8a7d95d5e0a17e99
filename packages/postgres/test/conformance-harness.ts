import { join } from "node:path";
import { forkHolder, type Harness, type Opened } from "@coord/conformance";
import { type Server, startProxy } from "@coord/test-fixtures";
import pg from "pg";
import { postgresBackend, type PostgresBackendOptions, schemaSql } from "../src/index.ts";
import { call, rewriting } from "./harness.ts";

export interface HarnessOptions {
  readonly name: string;
  /** Changes statements, to see the suite find it. @default none */
  readonly mutate?: (text: string) => string;
  readonly seed?: number;
}

let opens = 0;

/**
 * Each open has a schema of its own with the table and a clock that can be set. The first backend goes through a
 * proxy, so that its connections can be spoilt; the second goes straight to the server.
 */
export function postgresHarness(server: Server, admin: pg.Pool, options: HarnessOptions): Harness {
  const { mutate = (text) => text } = options;

  /** An administrator's statement, sent again while the server is down; so only one that may be sent twice. */
  async function throughRestart(text: string): Promise<void> {
    const endMs = performance.now() + 60_000;
    for (;;) {
      try {
        await admin.query(text);
        return;
      } catch (error) {
        const code = error instanceof Error && "code" in error ? String(error.code) : "none";
        const isDown = ["none", "ECONNREFUSED", "ECONNRESET", "57P01", "57P02", "57P03"].includes(code);
        if (!isDown || performance.now() > endMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  async function open(): Promise<Opened> {
    const schema = `conformance_${process.pid}_${++opens}`;
    const application = `app_${schema}`;
    await admin.query(`${schemaSql({ schema })};
      CREATE TABLE ${schema}.clock (step interval NOT NULL);
      INSERT INTO ${schema}.clock VALUES ('0');
      CREATE FUNCTION ${schema}.now() RETURNS timestamptz VOLATILE LANGUAGE plpgsql SECURITY DEFINER
        AS 'BEGIN RETURN clock_timestamp() + (SELECT step FROM ${schema}.clock); END'`);
    const proxy = await startProxy(server.url);
    const ends: (() => Promise<unknown>)[] = [];

    const poolOf = (connectionString: string, config: pg.PoolConfig = {}): pg.Pool => {
      const pool = new pg.Pool({ connectionString, max: 4, connectionTimeoutMillis: 4000, ...config });
      pool.on("error", () => {});
      ends.push(() => pool.end());
      return pool;
    };
    const backendOn = (pool: pg.Pool, more: Partial<PostgresBackendOptions> = {}) => {
      const client = rewriting(pool, (text) =>
        mutate(text).replaceAll("clock_timestamp()", `${schema}.now()`),
      );
      const backend = postgresBackend({ schema, ...more, client, url: undefined });
      ends.push(() => backend.close());
      return backend;
    };
    let offsetMs = 0;
    let stepping: Promise<unknown> = Promise.resolve();
    const step = async (ms: number): Promise<void> => {
      offsetMs += ms;
      // One after the other, and the whole offset each time: also right when the server is restarted meanwhile.
      stepping = stepping.then(() =>
        throughRestart(`UPDATE ${schema}.clock SET step = interval '${offsetMs} ms'`),
      );
      await stepping;
    };
    const at = (name: { namespace: string; key: string }): string[] => [name.namespace, name.key];

    return {
      backend: backendOn(poolOf(proxy.url, { application_name: application })),
      namespace: schema,
      second: async () => backendOn(poolOf(server.url)),
      close: async () => {
        await proxy.heal();
        for (const end of ends.toReversed()) await end();
        await proxy.stop();
        await throughRestart(
          `DROP SCHEMA IF EXISTS ${schema} CASCADE; DROP SCHEMA IF EXISTS ${schema}_bare CASCADE`,
        );
      },
      passTime: step,
      stepClock: step,
      swallowNextReply: () => {
        const isWrite = (chunk: Buffer): boolean =>
          /coord_(?:acquire|renew|release|overrule)/.test(chunk.toString("latin1"));
        proxy.swallowReply({ match: isWrite });
      },
      killConnections: async () => {
        await admin.query(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
          [application],
        );
      },
      cut: async () => {
        await proxy.refuse();
        return () => proxy.heal();
      },
      ...(server.faults !== undefined && {
        pause: async () => {
          await server.faults?.pause();
          return async () => {
            await server.faults?.resume();
          };
        },
        restart: () => server.faults?.restart() ?? Promise.resolve(),
      }),
      writeFence: async (name, fence) => {
        const text = `UPDATE ${schema}.lease SET fence = $3 WHERE namespace = $1 AND key = $2`;
        await admin.query(text, [...at(name), String(fence)]);
      },
      deleteRecord: async (name) => {
        await admin.query(`DELETE FROM ${schema}.lease WHERE namespace = $1 AND key = $2`, at(name));
      },
      lockRecord: async (name) => {
        const client = await admin.connect();
        await client.query("BEGIN");
        await client.query(
          `SELECT FROM ${schema}.lease WHERE namespace = $1 AND key = $2 FOR UPDATE`,
          at(name),
        );
        return async () => {
          await client.query("ROLLBACK");
          client.release();
        };
      },
      footprint: async () => {
        const { rows } = await admin.query(`SELECT count(*)::int AS count FROM ${schema}.lease`);
        return rows[0].count;
      },
      unprivileged: async () => {
        const role = `role_${schema}`;
        await admin.query(`CREATE ROLE ${role} LOGIN; GRANT USAGE ON SCHEMA ${schema} TO ${role};
          GRANT SELECT, INSERT, UPDATE, DELETE ON ${schema}.lease TO ${role}`);
        const url = new URL(server.url);
        url.username = role;
        const backend = backendOn(poolOf(url.href));
        await backend.setup(call());
        return backend;
      },
      bare: async () => backendOn(poolOf(server.url, { max: 20 }), { schema: `${schema}_bare` }),
      misconfigured: async () => {
        await admin.query(`CREATE SCHEMA ${schema}_bare; CREATE UNLOGGED TABLE ${schema}_bare.unlogged (LIKE ${schema}.lease INCLUDING ALL);
          COMMENT ON TABLE ${schema}_bare.unlogged IS 'coord lease table, layout 1';
          CREATE TABLE ${schema}_bare.theirs (id int)`);
        const close = async (): Promise<void> => {};
        const broken = { schema: `${schema}_bare` };
        const readOnly = poolOf(server.url, { options: "-c default_transaction_read_only=on" });
        const careless = poolOf(server.url, { options: "-c synchronous_commit=off" });
        const plain = poolOf(server.url);
        return [
          { title: "an UNLOGGED table", backend: backendOn(plain, { ...broken, table: "unlogged" }), close },
          { title: "another table", backend: backendOn(plain, { ...broken, table: "theirs" }), close },
          { title: "a read-only role", backend: backendOn(readOnly), close },
          { title: "commits that are not waited for", backend: backendOn(careless), close },
        ];
      },
      spawnHolder: (key, ttlMs) =>
        forkHolder(join(import.meta.dirname, "conformance-holder-child.ts"), {
          args: [server.url, schema, schema, key, String(ttlMs)],
          execArgv: ["--conditions=source", "--import", "tsx"],
        }),
      singleConnection: async () => backendOn(poolOf(server.url, { max: 1 })),
    };
  }

  return {
    name: options.name,
    // NOTIFY reaches everybody who listens for the name.
    declared: { wokenPerRelease: Number.POSITIVE_INFINITY },
    ...(options.seed !== undefined && { seed: options.seed }),
    open,
  };
}
