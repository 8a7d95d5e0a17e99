export { type Faults, FixtureMissing, type Provider, type Server } from "./server.ts";
export { type Kinds, start, whyMissing } from "./start.ts";
export type { PostgresOptions } from "./postgres.ts";
