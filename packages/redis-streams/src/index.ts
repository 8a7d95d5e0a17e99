export { redisStreamsBackend } from "./backend.ts";
export type { RedisStreamsBackend, RedisStreamsBackendOptions } from "./backend.ts";
export type { RedisClient } from "./client.ts";
