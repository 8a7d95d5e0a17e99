import { describeBackend } from "@coord/conformance/vitest";
import { start } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, describe } from "vitest";
import { postgresHarness } from "./conformance-harness.ts";

describe.each([18, 15] as const)("PostgreSQL %i", async (version) => {
  const server = await start("postgres", { version, settings: { max_connections: "300" } });
  const admin = new pg.Pool({ connectionString: server.url });
  admin.on("error", () => {});
  afterAll(async () => {
    await admin.end();
    await server.stop();
  });
  describeBackend(postgresHarness(server, admin, { name: `PostgreSQL ${version}` }));
});
