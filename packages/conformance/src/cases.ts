import type { Case } from "./case.ts";
import { core } from "./cases/core.ts";
import { election } from "./cases/election.ts";
import { expiry } from "./cases/expiry.ts";
import { faults } from "./cases/faults.ts";
import { fences } from "./cases/fences.ts";
import { granting } from "./cases/granting.ts";
import { model } from "./cases/model.ts";
import { names } from "./cases/names.ts";
import { onceInDoubt } from "./cases/once-in-doubt.ts";
import { once } from "./cases/once.ts";
import { overruling } from "./cases/overruling.ts";
import { reading } from "./cases/reading.ts";
import { releasing } from "./cases/releasing.ts";
import { renewing } from "./cases/renewing.ts";
import { sealing } from "./cases/sealing.ts";
import { setup } from "./cases/setup.ts";
import { waking } from "./cases/waking.ts";

/** Every case there is, in the order of the contract. */
export const cases: readonly Case[] = [
  ...granting,
  ...names,
  ...fences,
  ...renewing,
  ...releasing,
  ...overruling,
  ...sealing,
  ...expiry,
  ...waking,
  ...reading,
  ...faults,
  ...setup,
  ...model,
  ...core,
  ...once,
  ...onceInDoubt,
  ...election,
];
