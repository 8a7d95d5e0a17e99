import { start, whyMissing } from "@coord/test-fixtures";
import { Cluster, Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { backendWith } from "../src/backend.ts";
import { freshNamespace } from "./call.ts";
import { checkModel } from "./model.ts";
import { scriptsOnVirtualClock, setClock, startUs } from "./virtual-clock.ts";

/** `mutants.test.ts` takes 6000 steps more on Redis; `COORD_STEPS=50000` is the long form. */
const asked = Number(process.env["COORD_STEPS"] ?? 0);

const kinds = [
  { title: "Redis", options: {}, partitions: 1, steps: asked || 2000 },
  { title: "Valkey", options: { flavor: "valkey" }, partitions: 3, steps: asked || 1000 },
  { title: "a cluster of three nodes", options: { cluster: 3 }, partitions: 8, steps: asked || 1000 },
] as const;

for (const { title, options, partitions, steps } of kinds) {
  const missing = await whyMissing("redis", options);
  describe.skipIf(missing !== undefined)(`random steps on ${title}${missing ? `: ${missing}` : ""}`, () => {
    test("two clients get the answers of the pure functions, and the records are theirs", async () => {
      await using server = Object.assign(await start("redis", options), {
        [Symbol.asyncDispose](this: { stop(): Promise<void> }) {
          return this.stop();
        },
      });
      const { port } = new URL(server.url);
      const admin =
        "cluster" in options
          ? new Cluster([{ host: "127.0.0.1", port: Number(port) }])
          : new Redis(Number(port), "127.0.0.1");
      const scripts = scriptsOnVirtualClock();
      const first = backendWith({ client: admin, partitions }, scripts);
      const second = backendWith({ client: admin, partitions }, scripts);
      try {
        await checkModel(
          {
            backends: [first, second],
            setClock: (namespace, nowUs) => setClock(admin, namespace, partitions, nowUs),
            freshNamespace,
            startUs: startUs(),
          },
          { steps },
        );
      } finally {
        await Promise.all([first.close(), second.close()]);
        admin.disconnect();
      }
      expect(first.info.prunes).toBe(false);
    }, 300_000);
  });
}
