export { mysqlBackend } from "./mysql-backend.ts";
export type { MysqlBackend, MysqlBackendOptions, WakeOptions } from "./mysql-backend.ts";
export { schemaSql } from "./schema.ts";
export type { SchemaOptions } from "./schema.ts";
export type { CallbackConnection, CallbackPool, MysqlConnection, MysqlPool } from "./driver.ts";
