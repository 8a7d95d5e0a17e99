import { startFakeGcs } from "./gcs-fake.ts";
import type { Server } from "./server.ts";

export interface GcsOptions {
  /** The only bucket; knobs and faults of the fake come with `startFakeGcs`. @default 'coord-test' */
  readonly bucket?: string;
}

/** Starts the fake with one bucket; the URL is what `gcsBackend` takes. */
export async function startNativeGcs({ bucket = "coord-test" }: GcsOptions = {}): Promise<Server> {
  const fake = await startFakeGcs();
  fake.addBucket(bucket);
  return {
    url: `gs://${bucket}?endpoint=${fake.url}`,
    provider: "native",
    version: "fake",
    faults: fake.serverFaults,
    capabilities: { fake: true },
    stop: () => fake.stop(),
  };
}
