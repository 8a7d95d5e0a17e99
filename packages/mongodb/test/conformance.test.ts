import { describeBackend } from "@coord/conformance/vitest";
import { start } from "@coord/test-fixtures";
import { MongoClient } from "mongodb";
import { afterAll, test } from "vitest";
import { mongodbHarness } from "./harness.ts";
import { missing } from "./store.ts";

const server = missing === undefined ? await start("mongodb") : undefined;
// oxlint-disable-next-line vitest/no-conditional-tests -- the cases skip themselves by what the server can do
if (server !== undefined) {
  const client = new MongoClient(server.url, { retryWrites: false });
  afterAll(async () => {
    await client.close();
    await server.stop();
  });
  describeBackend(mongodbHarness(server, client));
}

test.skipIf(server !== undefined)("the suite is skipped without a server", ({ skip }) => skip(missing));
