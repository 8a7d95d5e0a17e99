import type { Observer, Sim } from "../sim.ts";
import { elections } from "./elections.ts";
import { endings } from "./endings.ts";
import { executions } from "./executions.ts";
import { exclusion } from "./exclusion.ts";
import { holding } from "./holding.ts";
import { payload } from "./payload.ts";
import { records } from "./records.ts";
import { rest } from "./rest.ts";
import { waiting } from "./waiting.ts";

/** All that must hold; each group looks at a run of its own. */
export const invariants: readonly ((sim: Sim) => Observer)[] = [
  exclusion,
  holding,
  payload,
  records,
  endings,
  waiting,
  executions,
  elections,
  rest,
];
