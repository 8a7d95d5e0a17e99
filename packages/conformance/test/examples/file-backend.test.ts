import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeBackend } from "@coord/conformance/vitest";
import { fileBackend } from "./file-backend.ts";

describeBackend({
  name: "file",
  timing: { ttlMs: 800 },
  async open() {
    const folder = await mkdtemp(join(tmpdir(), "leases-"));
    return {
      backend: fileBackend(folder),
      namespace: "example",
      second: async () => fileBackend(folder),
      close: () => rm(folder, { recursive: true }),
    };
  },
});
