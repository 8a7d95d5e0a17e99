import { describeBackend } from "@coord/conformance/vitest";
import { whyMissing } from "@coord/test-fixtures";
import { afterAll, test } from "vitest";
import { clusterHarness, redisHarness } from "./harness.ts";
import { startCluster, startRedis } from "./server.ts";

for (const flavor of ["redis", "valkey"] as const) {
  const missing = await whyMissing("redis", { flavor });
  const server = missing === undefined ? await startRedis({ flavor }) : undefined;
  // oxlint-disable-next-line vitest/no-conditional-tests -- without a server there is nothing to bind
  if (server !== undefined) {
    describeBackend(redisHarness(server));
    afterAll(() => server[Symbol.asyncDispose]());
  }
  test.skipIf(server !== undefined)(`the suite is skipped without ${flavor}`, ({ skip }) => skip(missing));
}

const missing = await whyMissing("redis", { cluster: 3 });
const cluster = missing === undefined ? await startCluster() : undefined;
// oxlint-disable-next-line vitest/no-conditional-tests -- without a cluster there is nothing to bind
if (cluster !== undefined) {
  describeBackend(clusterHarness(cluster));
  afterAll(() => cluster[Symbol.asyncDispose]());
}
test.skipIf(cluster !== undefined)("the suite is skipped without a cluster", ({ skip }) => skip(missing));
