/** What the backend calls on mysql2, as structure, and what it reads from its answers. */
import { ConfigurationError, UnavailableError } from "@coord/core";

export type Value = Buffer | bigint | number | null;

export interface Question {
  readonly sql: string;
  readonly values: Value[];
  readonly supportBigNumbers: boolean;
  readonly bigNumberStrings: boolean;
  readonly rowsAsArray: boolean;
  readonly nestTables: boolean;
  readonly namedPlaceholders: boolean;
  readonly typeCast: boolean;
}

/** A connection of `mysql2/promise`. */
export interface MysqlConnection {
  query(question: Question): Promise<[unknown, unknown]>;
  destroy(): void;
}

/** A connection of `mysql2`, which hands out the other kind. */
export interface CallbackConnection {
  promise(): MysqlConnection;
}

export interface MysqlPoolConnection extends MysqlConnection {
  release(): void;
}

/** A pool of `mysql2/promise`. */
export interface MysqlPool {
  getConnection(): Promise<MysqlPoolConnection>;
}

/** A pool of `mysql2`. */
export interface CallbackPool {
  promise(): MysqlPool;
}

export type Row = Readonly<Record<string, unknown>>;

/** What a statement that changes rows answers. */
export interface Header {
  readonly affectedRows: number;
  readonly insertId: bigint;
  /** Bit 0: a transaction is open. `undefined` if the driver does not say. */
  readonly serverStatus: number | undefined;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;

/** The property of a value that may be no object at all. */
export const property = (value: unknown, name: string): unknown =>
  isObject(value) ? value[name] : undefined;

/** The settings of the driver that could change a question's or an answer's meaning are given with each. */
export async function ask(
  connection: MysqlConnection,
  sql: string,
  values: readonly Value[] = [],
): Promise<unknown> {
  const [answer] = await connection.query({
    sql,
    values: [...values],
    supportBigNumbers: true,
    bigNumberStrings: true,
    rowsAsArray: false,
    nestTables: false,
    namedPlaceholders: false,
    typeCast: true,
  });
  return answer;
}

export function rowsOf(answer: unknown): Row[] {
  if (Array.isArray(answer) && answer.every(isObject)) return answer;
  throw new UnavailableError("MySQL answered without rows where rows were asked for.");
}

export function headerOf(answer: unknown): Header {
  const affectedRows = Number(property(answer, "affectedRows"));
  const insertId = property(answer, "insertId");
  const status = property(answer, "serverStatus");
  if (!Number.isSafeInteger(affectedRows) || (typeof insertId !== "number" && typeof insertId !== "string")) {
    throw new UnavailableError("MySQL's answer to a change can't be read.");
  }
  return {
    affectedRows,
    insertId: BigInt(insertId),
    serverStatus: typeof status === "number" ? status : undefined,
  };
}

export function integer(row: Row, column: string): bigint {
  const value = row[column];
  if (typeof value === "bigint") return value;
  if (typeof value === "number" || typeof value === "string") return BigInt(value);
  throw new UnavailableError(`MySQL's answer has no integer in ${column}.`);
}

export function bytes(row: Row, column: string): Buffer {
  const value = row[column];
  if (Buffer.isBuffer(value)) return value;
  throw new UnavailableError(`MySQL's answer has no bytes in ${column}.`);
}

/** Ends a connection also if the server has stopped answering: its socket must not keep the process alive. */
export function hangUp(connection: MysqlConnection): void {
  connection.destroy();
  const socket = socketOf(connection);
  if (typeof property(socket, "destroy") === "function") callOn(socket, "destroy");
}

/** The connection that mysql2 wraps in one with promises; stays the same while the wrapper changes. */
export function physical(connection: MysqlConnection): object {
  const inner = property(connection, "connection");
  return isObject(inner) ? inner : connection;
}

const socketOf = (connection: MysqlConnection): unknown => property(physical(connection), "stream");

/** The process may end while this connection is open. */
export function unref(connection: MysqlConnection): void {
  const socket = socketOf(connection);
  if (typeof property(socket, "unref") === "function") callOn(socket, "unref");
}

/** Calls `onDown` when the connection breaks; without a listener a broken connection ends the process. */
export function onError(connection: MysqlConnection, onDown: () => void): void {
  const inner = physical(connection);
  if (typeof property(inner, "on") !== "function") return;
  callOn(inner, "on", "error", onDown);
  callOn(inner, "on", "end", onDown);
}

function callOn(target: unknown, name: string, ...values: unknown[]): void {
  const method = property(target, name);
  if (typeof method === "function") Reflect.apply(method, target, values);
}

export type Settings = Readonly<Record<string, unknown>>;

interface Driver {
  createPool(settings: Settings): MysqlPool & { end(): Promise<void> };
  createConnection(settings: Settings): Promise<MysqlConnection>;
}

const isDriver = (module: unknown): module is Driver =>
  typeof property(module, "createPool") === "function" &&
  typeof property(module, "createConnection") === "function";

/** mysql2, loaded when it is first needed. */
export async function loadDriver(): Promise<Driver> {
  let module: unknown;
  try {
    module = await import("mysql2/promise");
  } catch (error) {
    throw new ConfigurationError("The package mysql2 is missing: npm install mysql2", { cause: error });
  }
  for (const candidate of [module, property(module, "default")]) if (isDriver(candidate)) return candidate;
  throw new ConfigurationError("The package mysql2 is too old: npm install mysql2@3");
}
