export { defineConfig } from "./config-file.ts";
export type { CoordConfig } from "./config-file.ts";
