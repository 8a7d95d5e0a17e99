import { randomUUID } from "node:crypto";
import { describeBackend } from "@coord/conformance/vitest";
import type { Harness } from "@coord/conformance";
import { start } from "@coord/test-fixtures";
import { gcsBackend } from "../src/index.ts";
import { fakeHarness } from "./harness.ts";

/** A real bucket, or another emulator, has no hooks and no time but its own. */
function realHarness(url: string): Harness {
  return {
    name: "Cloud Storage",
    timing: { ttlMs: 20_000, slackMs: 2000, pollMs: 1000, caseMs: 600_000 },
    concurrency: 32,
    async open() {
      const namespace = `c${randomUUID().replaceAll("-", "")}`;
      const backend = gcsBackend({ url });
      return {
        backend,
        namespace,
        second: async () => gcsBackend({ url }),
        close: async () => await backend.close(),
      };
    },
  };
}

const server = await start("gcs");
const isFake = server.capabilities["fake"] === true;
await server.stop();

describeBackend(isFake ? fakeHarness() : realHarness(server.url));
