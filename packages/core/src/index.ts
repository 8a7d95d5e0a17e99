export type * from "./backend.ts";
export {
  AcquireTimeoutError,
  ConfigurationError,
  CoordError,
  InvalidArgumentError,
  isCoordError,
  LeaseLostError,
  StaleFenceError,
  UnavailableError,
} from "./errors.ts";
export type { CoordErrorCode, LostReason } from "./errors.ts";
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
export type { AcquireEvent, EventBase, HoldEvent, LeaseEvent, NoticeEvent, RenewEvent } from "./events.ts";
export type { Jsonable } from "./json.ts";
export type { Lease } from "./lease.ts";
export type { Kind } from "./validate.ts";
