export type { MongodbOptions } from "./mongodb.ts";
export type { MysqlOptions } from "./mysql.ts";
export { type PgBouncerOptions, startPgBouncer } from "./pgbouncer.ts";
export type { PostgresOptions } from "./postgres.ts";
export { type Proxy, startProxy, type SwallowOptions } from "./proxy.ts";
export type { RedisOptions } from "./redis.ts";
export { type Faults, FixtureMissing, type Provider, type Server, type ServerNode } from "./server.ts";
export { type Kinds, start, whyMissing } from "./start.ts";
