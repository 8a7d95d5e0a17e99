import { describeBackend } from "@coord/conformance/vitest";
import { simulatedHarness } from "./simulated-harness.ts";

describeBackend(simulatedHarness());
