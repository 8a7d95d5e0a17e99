export { postgresBackend, type PostgresBackend } from "./backend.ts";
export type {
  PooledConnection,
  PostgresClient,
  PostgresConnection,
  PostgresPool,
  QueryConfig,
  QueryResult,
} from "./client.ts";
export type { PostgresBackendOptions } from "./options.ts";
export { schemaSql, type TableOptions } from "./schema.ts";
export type { QueryFunction, Transaction } from "./within.ts";
