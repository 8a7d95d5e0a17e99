import type { Kind } from "../plan.ts";
import { aftermath } from "./aftermath.ts";
import { callback } from "./callback.ts";
import { candidate } from "./candidate.ts";
import { breaker } from "./breaker.ts";
import { closer } from "./closer.ts";
import { handOver } from "./hand-over.ts";
import { janitor } from "./janitor.ts";
import { operator } from "./operator.ts";
import { payer } from "./payer.ts";
import { rivals } from "./rivals.ts";
import { sealed } from "./sealed.ts";
import { worker } from "./worker.ts";

const leases: readonly [Kind, ...Kind[]] = [
  worker,
  callback,
  handOver,
  breaker,
  janitor,
  closer,
  sealed,
  rivals,
];
const elections: readonly [Kind, ...Kind[]] = [candidate, candidate, closer, janitor];
const executions: readonly [Kind, ...Kind[]] = [payer, aftermath, aftermath, operator, closer, janitor];

/**
 * What the users of a run are after, so that enough of them meet; the first kind of each is the most common.
 */
export const themes: readonly [typeof leases, ...(typeof leases)[]] = [
  leases,
  leases,
  executions,
  elections,
  [worker, payer, ...leases, ...executions, ...elections],
];
