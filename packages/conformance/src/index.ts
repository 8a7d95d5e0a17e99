export type { Declared, Harness, Holder, Hook, Misconfigured, Opened, Timing } from "./harness.ts";
