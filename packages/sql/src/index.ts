export {
  CommitUnknownError,
  ConflictError,
  LockLostError,
  LockTimeoutError,
  RolledBackError,
} from "./errors.ts";
export type { RollbackReason } from "./errors.ts";
export type {
  SqlEvent,
  LockEndEvent,
  LockWaitEvent,
  RetryEvent,
  TransactionEvent,
  WriteEvent,
} from "./events.ts";
export type { MysqlCallbackPool, MysqlConnection, MysqlPool, PgClient, PgPool, SqlPool } from "./pool.ts";
export { sessionIn } from "./session.ts";
export { transaction } from "./transaction.ts";
export type { Isolation, TransactionOptions } from "./transaction.ts";
export type * from "./types.ts";
