export { advisoryLock } from "./advisory-lock.ts";
export type { AdvisoryLockOptions, HeldLock } from "./advisory-lock.ts";
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
export { fencedUpdate, fencedUpsert } from "./fenced-write.ts";
export type { Fenced, FencedUpdate, FencedUpsert } from "./fenced-write.ts";
export { insertIdempotent } from "./idempotent-insert.ts";
export type { IdempotentInsert } from "./idempotent-insert.ts";
export type { Columns } from "./identifiers.ts";
export { occUpdate, withOccRetry } from "./occ.ts";
export type { OccRetryOptions, OccUpdate } from "./occ.ts";
export type { MysqlCallbackPool, MysqlConnection, MysqlPool, PgClient, PgPool, SqlPool } from "./pool.ts";
export { lockRow } from "./row-lock.ts";
export type { LockRowOptions } from "./row-lock.ts";
export { sessionIn } from "./session.ts";
export { transaction } from "./transaction.ts";
export type { Isolation, TransactionOptions } from "./transaction.ts";
export type * from "./types.ts";
