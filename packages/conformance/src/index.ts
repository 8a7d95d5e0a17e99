export type { Case, Requirement, Rule } from "./case.ts";
export { cases } from "./cases.ts";
export type { Client, Granted, Refused } from "./client.ts";
export type { Context } from "./context.ts";
export type { Declared, Harness, Holder, Hook, Misconfigured, Opened, Timing } from "./harness.ts";
export { formatReport } from "./report.ts";
export { runCase, runConformance } from "./run.ts";
export type { CaseResult, Report, RunOptions } from "./run.ts";
