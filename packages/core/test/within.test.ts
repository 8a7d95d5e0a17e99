import { expect, it } from "vitest";
import { storedName } from "../src/validate.ts";
import { lostWithin } from "../src/within.ts";

it("names the key as its user knows it", () => {
  const grant = { name: storedName("n", "lease", "account 7"), grantId: "g", fence: 41n };
  const error = lostWithin(grant);
  expect(error).toMatchObject({ key: "account 7", fence: 41n, reason: "refused" });
  expect(error.message).toBe(
    'The lease "account 7" (fence 41) is not held any more. Roll the transaction back.',
  );
});
