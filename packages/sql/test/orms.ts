/** Query builders and ORMs on both servers, each with a transaction of its own and a session in it. */
import { PrismaMariaDb } from "@prisma/adapter-mariadb";
import { PrismaPg } from "@prisma/adapter-pg";
import { sql } from "drizzle-orm";
import { drizzle as drizzleMysql } from "drizzle-orm/mysql2";
import { drizzle as drizzlePostgres } from "drizzle-orm/node-postgres";
import knex from "knex";
import { CompiledQuery, Kysely, MysqlDialect, PostgresDialect } from "kysely";
import { createPool as createCallbackPool } from "mysql2";
import { createPool } from "mysql2/promise";
import pg from "pg";
import { DataSource } from "typeorm";
import { type Dialect, type Session, sessionIn } from "../src/index.ts";
import { prismaClient } from "./prisma-client.ts";

interface Orm {
  /** Runs `work` in a transaction of the ORM. */
  within<T>(work: (session: Session) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

type Open = (dialect: Dialect, url: string) => Promise<Orm>;

const openPg: Open = async (dialect, url) => {
  if (dialect === "mysql") {
    const pool = createPool(url);
    return {
      within: async (work) => {
        const connection = await pool.getConnection();
        try {
          await connection.beginTransaction();
          const result = await work(sessionIn("mysql", ({ text, values }) => connection.query(text, values)));
          await connection.commit();
          return result;
        } catch (error) {
          await connection.rollback();
          throw error;
        } finally {
          connection.release();
        }
      },
      close: () => pool.end(),
    };
  }
  const pool = new pg.Pool({ connectionString: url });
  return {
    within: async (work) => {
      const client = await pool.connect();
      try {
        await client.query("BEGIN");
        const result = await work(sessionIn("postgres", ({ text, values }) => client.query(text, values)));
        await client.query("COMMIT");
        return result;
      } catch (error) {
        await client.query("ROLLBACK");
        throw error;
      } finally {
        client.release();
      }
    },
    close: () => pool.end(),
  };
};

const openKnex: Open = async (dialect, url) => {
  const db = knex({
    client: dialect === "postgres" ? "pg" : "mysql2",
    connection: url,
    pool: { min: 0, max: 5 },
  });
  return {
    within: (work) =>
      db.transaction((trx) =>
        work(
          sessionIn(dialect, ({ fragments, values }) =>
            trx.raw(fragments.map((part) => part.replaceAll("?", "\\?")).join("?"), values as never),
          ),
        ),
      ),
    close: () => db.destroy(),
  };
};

const openKysely: Open = async (dialect, url) => {
  const db = new Kysely<Record<string, never>>({
    dialect:
      dialect === "postgres"
        ? new PostgresDialect({ pool: new pg.Pool({ connectionString: url }) })
        : new MysqlDialect({ pool: createCallbackPool(url) }),
  });
  return {
    within: (work) =>
      db
        .transaction()
        .execute((trx) =>
          work(sessionIn(dialect, ({ text, values }) => trx.executeQuery(CompiledQuery.raw(text, values)))),
        ),
    close: () => db.destroy(),
  };
};

const openDrizzle: Open = async (dialect, url) => {
  if (dialect === "mysql") {
    const pool = createPool(url);
    const db = drizzleMysql({ client: pool });
    return {
      within: (work) =>
        db.transaction((tx) =>
          work(sessionIn("mysql", ({ fragments, values }) => tx.execute(sql(fragments, ...values)))),
        ),
      close: () => pool.end(),
    };
  }
  const pool = new pg.Pool({ connectionString: url });
  const db = drizzlePostgres({ client: pool });
  return {
    within: (work) =>
      db.transaction((tx) =>
        work(sessionIn("postgres", ({ fragments, values }) => tx.execute(sql(fragments, ...values)))),
      ),
    close: () => pool.end(),
  };
};

const openTypeorm: Open = async (dialect, url) => {
  const source = await new DataSource({ type: dialect, url }).initialize();
  return {
    within: (work) =>
      source.transaction((manager) =>
        work(sessionIn(dialect, async ({ text, values }) => manager.queryRunner?.query(text, values, true))),
      ),
    close: () => source.destroy(),
  };
};

const openPrisma: Open = async (dialect, url) => {
  const adapter =
    dialect === "postgres"
      ? new PrismaPg({ connectionString: url })
      : new PrismaMariaDb(url.replace("mysql:", "mariadb:"));
  const client = prismaClient(dialect, adapter);
  return {
    within: (work) =>
      client.$transaction(
        (tx) =>
          work(
            sessionIn(dialect, ({ kind, text, values }) =>
              kind === "fetch" ? tx.$queryRawUnsafe(text, ...values) : tx.$executeRawUnsafe(text, ...values),
            ),
          ),
        { timeout: 30_000, maxWait: 30_000 },
      ),
    close: () => client.$disconnect(),
  };
};

export const orms: Record<string, Open> = {
  "the driver": openPg,
  Knex: openKnex,
  Kysely: openKysely,
  Drizzle: openDrizzle,
  TypeORM: openTypeorm,
  Prisma: openPrisma,
};
