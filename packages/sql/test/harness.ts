import { randomBytes } from "node:crypto";
import { FixtureMissing, type Server, start } from "@coord/test-fixtures";
import { afterAll, vi } from "vitest";
import { type Flavor, openPool, type TestPool } from "./pools.ts";

// Room for a machine that does much else at the same time; nothing waits for it where all is well.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

async function startFlavor(flavor: Flavor): Promise<Server | string> {
  try {
    return await (flavor === "postgres" ? start("postgres") : start("mysql", { flavor }));
  } catch (error) {
    if (!(error instanceof FixtureMissing) || process.env["CI"]) throw error;
    return error.message;
  }
}

export { flavors, openPool } from "./pools.ts";

const servers = new Map<Flavor, Server | string>();

/**
 * Starts a server of each flavor for all tests of a file, to be awaited at its top. Tells of each why it is missing;
 * undefined where it is there.
 */
export async function startServers(
  ...wanted: readonly Flavor[]
): Promise<Record<Flavor, string | undefined>> {
  await Promise.all(wanted.map(async (flavor) => servers.set(flavor, await startFlavor(flavor))));
  const whyNot = (flavor: Flavor): string | undefined => {
    const server = servers.get(flavor);
    return typeof server === "object" ? undefined : (server ?? "not started");
  };
  return { postgres: whyNot("postgres"), mysql: whyNot("mysql"), mariadb: whyNot("mariadb") };
}

afterAll(async () => {
  for (const server of servers.values()) if (typeof server === "object") await server.stop();
});

/** The server of a flavor and a pool on it, for the tests of one `describe`. */
export function useServer(flavor: Flavor): { readonly server: Server; readonly db: TestPool } {
  let db: TestPool | undefined;
  const server = (): Server => {
    const started = servers.get(flavor);
    if (typeof started !== "object") throw new Error(`there is no ${flavor}`);
    return started;
  };
  afterAll(() => db?.end());
  return {
    get server() {
      return server();
    },
    get db() {
      return (db ??= openPool(flavor, server().url));
    },
  };
}

export const freshTable = (): string => `t_${randomBytes(5).toString("hex")}`;

/** Accounts 1 to 5 with a balance of 100. */
export async function accounts(db: TestPool): Promise<string> {
  const table = freshTable();
  await db.query(
    `CREATE TABLE ${table} (id int PRIMARY KEY, balance int NOT NULL, version bigint NOT NULL DEFAULT 1, fence bigint NOT NULL DEFAULT 0, note varchar(100))`,
  );
  await db.query(
    `INSERT INTO ${table} (id, balance) VALUES (1, 100), (2, 100), (3, 100), (4, 100), (5, 100)`,
  );
  return table;
}

export async function balanceOf(db: TestPool, table: string, id = 1): Promise<number | undefined> {
  const [row] = await db.query(`SELECT balance FROM ${table} WHERE id = ${id}`);
  return row === undefined ? undefined : Number(row["balance"]);
}

/** The connections of a pool: all of them, and those that nobody has. */
export function census({ pool }: TestPool): { readonly total: number; readonly free: number } {
  if ("totalCount" in pool && "idleCount" in pool)
    return { total: pool.totalCount, free: Number(pool.idleCount) };
  const inner: object = Reflect.get(pool, "pool");
  const lengthOf = (queue: string): number => Reflect.get(inner, queue).length;
  return { total: lengthOf("_allConnections"), free: lengthOf("_freeConnections") };
}

/** A promise that the test settles itself. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 20_000,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`waited ${limitMs} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const caught = async (work: Promise<unknown>): Promise<unknown> => {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
};
