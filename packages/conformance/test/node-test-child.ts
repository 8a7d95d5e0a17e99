import { describeBackend } from "@coord/conformance/node-test";
import { simulatedHarness } from "./simulated-harness.ts";

const broken = process.argv.includes("--broken") && {
  backend: () => ({ inspect: async () => null }),
};

describeBackend({
  ...simulatedHarness(broken || undefined),
  skip: { "reading/paging": "the store has no room for 1,000 records" },
});
