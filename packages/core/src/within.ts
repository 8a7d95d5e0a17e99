import type { Grant } from "./backend.ts";
import { LeaseLostError } from "./errors.ts";
import { userKey } from "./validate.ts";

/** What `verify` of a backend's `within` throws where the record is not the grant's any more. */
export function lostWithin({ name, fence }: Grant): LeaseLostError {
  const key = userKey(name.key);
  const message = `The lease "${key}" (fence ${fence}) is not held any more. Roll the transaction back.`;
  return new LeaseLostError({ key, fence }, "refused", message);
}
