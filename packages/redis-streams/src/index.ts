export { redisStreamsBackend } from "./backend.ts";
export type { RedisStreamsBackend, RedisStreamsBackendOptions } from "./backend.ts";
export type { ClientOrUrl, RedisClient } from "./client.ts";
