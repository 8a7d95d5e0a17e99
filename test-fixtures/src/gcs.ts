import { startFakeGcs } from "./gcs-fake.ts";
import type { Server } from "./server.ts";

/** There is nothing to choose: knobs and faults of the fake come with `startFakeGcs`. */
export type GcsOptions = Record<never, never>;

const bucket = "coord-test";

/** Starts the fake with one bucket; the URL is what `gcsBackend` takes. */
export async function startNativeGcs(): Promise<Server> {
  const fake = await startFakeGcs();
  fake.addBucket(bucket);
  return {
    url: `gs://${bucket}?endpoint=${fake.url}`,
    provider: "native",
    version: "fake",
    faults: fake.faultsOfServer,
    capabilities: { fake: true },
    stop: fake.stop,
  };
}
