import { describeBackend } from "@coord/conformance/vitest";
import { versionedBackend } from "./versioned-backend.ts";
import { versionedMap } from "./versioned-map.ts";

describeBackend({
  name: "versioned",
  timing: { ttlMs: 600 },
  concurrency: 16,
  async open() {
    const store = versionedMap();
    return {
      backend: versionedBackend(store),
      namespace: "example",
      second: async () => versionedBackend(store),
      close: async () => {},
    };
  },
});
