export { gcsBackend } from "./gcs-backend.ts";
export type { GcsBackendOptions, GcsClientOptions, GcsUrlOptions } from "./gcs-backend.ts";
export type { GcsBucket, GcsRequest } from "./access.ts";
