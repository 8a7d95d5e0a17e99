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
