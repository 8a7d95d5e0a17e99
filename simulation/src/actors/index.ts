import type { Kind } from "../plan.ts";
import { callback } from "./callback.ts";
import { breaker } from "./breaker.ts";
import { closer } from "./closer.ts";
import { handOver } from "./hand-over.ts";
import { janitor } from "./janitor.ts";
import { rivals } from "./rivals.ts";
import { sealed } from "./sealed.ts";
import { worker } from "./worker.ts";

/** All kinds of users; the first is the most common. */
export const actors: readonly [Kind, ...Kind[]] = [
  worker,
  callback,
  handOver,
  breaker,
  janitor,
  closer,
  sealed,
  rivals,
];
