export { idempotent } from "./idempotent.ts";
export type { Handler, HttpProbeAnswer, IdempotentOptions, Verdict } from "./options.ts";
export type { Problem, ProblemCode } from "./problem.ts";
export { storeResponse } from "./stored-response.ts";
export type { StoredResponse } from "./stored-response.ts";
