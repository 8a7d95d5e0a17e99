export type * from "./backend.ts";
export {
  AcquireTimeoutError,
  ConfigurationError,
  CoordError,
  ExecutionRunningError,
  InvalidArgumentError,
  isCoordError,
  LeaseLostError,
  OutcomeError,
  RecordedFailureError,
  StaleFenceError,
  UnavailableError,
  UncertainError,
} from "./errors.ts";
export type { CoordErrorCode, LostReason, RecordedFailure } from "./errors.ts";
export * as transitions from "./record.ts";
export { compareKeys, view } from "./record.ts";
export type { Step } from "./record.ts";
export { casBackend } from "./cas-backend.ts";
export type { CasStore, Seen } from "./cas-backend.ts";
export { createMemoryStore, memoryBackend } from "./memory.ts";
export type { MemoryBackendOptions, MemoryStore } from "./memory.ts";
export type * from "./api.ts";
export { assertFenced, createCoordinator } from "./coordinator.ts";
export { openCoordinator } from "./config.ts";
export type { BackendFactories, CoordinatorConfig, OpenOptions } from "./config.ts";
export { systemHost } from "./clock.ts";
export type { Host } from "./clock.ts";
export type {
  AcquireEvent,
  ElectionEvent,
  EventBase,
  HoldEvent,
  LeaseEvent,
  NoticeEvent,
  OnceEvent,
  RenewEvent,
} from "./events.ts";
export type * from "./election-api.ts";
export type { Jsonable } from "./json.ts";
export type { Lease } from "./lease.ts";
export type * from "./once-api.ts";
export { notDone, unwrap } from "./once-outcome.ts";
export type { ExecutionStatus, LogEntry } from "./once-record.ts";
export type { Kind } from "./validate.ts";
export { lostWithin } from "./within.ts";
