import { cases } from "@coord/conformance";
import { describeBackend } from "@coord/conformance/node-test";
import { simulatedHarness } from "./simulated-harness.ts";

const broken = process.argv.includes("--broken") && {
  backend: () => ({ inspect: async () => null }),
};

const others = cases.filter(({ id }) => id !== "overruling/now-frees");

describeBackend({
  ...simulatedHarness(broken || undefined),
  skip: broken
    ? Object.fromEntries(others.map(({ id }) => [id, "one failure is enough"]))
    : { "reading/paging": "the store has no room for 1,000 records" },
});
