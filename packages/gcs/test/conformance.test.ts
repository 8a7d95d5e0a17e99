import { randomUUID } from "node:crypto";
import { Storage } from "@google-cloud/storage";
import { describeBackend } from "@coord/conformance/vitest";
import type { Harness } from "@coord/conformance";
import { start } from "@coord/test-fixtures";
import { gcsBackend } from "../src/index.ts";
import { fakeHarness, spawnHolder } from "./harness.ts";

async function removeAll(url: string, namespace: string): Promise<void> {
  const { hostname, pathname, searchParams } = new URL(url);
  const apiEndpoint = searchParams.get("endpoint");
  const storage = new Storage(apiEndpoint === null ? {} : { apiEndpoint, projectId: "p" });
  const folder = pathname.replace(/^\/|\/$/g, "") || "coord";
  await storage.bucket(hostname).deleteFiles({ prefix: `${folder}/${namespace}/`, force: true });
}

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
        spawnHolder: (key, ttlMs) => spawnHolder(url, namespace, key, ttlMs),
        async close() {
          await backend.close();
          await removeAll(url, namespace);
        },
      };
    },
  };
}

const server = await start("gcs");
const isFake = server.capabilities["fake"] === true;
await server.stop();

describeBackend(isFake ? fakeHarness() : realHarness(server.url));
