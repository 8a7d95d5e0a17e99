import { describeBackend } from "@coord/conformance/vitest";
import { memoryHarness } from "./memory-harness.ts";

describeBackend(memoryHarness("real"));
describeBackend(memoryHarness("injected"));
