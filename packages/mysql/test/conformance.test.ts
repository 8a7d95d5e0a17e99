import { describeBackend } from "@coord/conformance/vitest";
import { start } from "@coord/test-fixtures";
import { afterAll } from "vitest";
import { mysqlHarness } from "./conformance-harness.ts";
import { flavors } from "./harness.ts";

for (const flavor of flavors) {
  const server = await start("mysql", { flavor });
  describeBackend(mysqlHarness(server, flavor));
  afterAll(() => server.stop());
}
