import { MongoClient as MongoClient6 } from "mongodb-6";
import { describe, expect, test } from "vitest";
import { mongodbBackend } from "../src/index.ts";
import { type LeaseDocument, playAll } from "./model.ts";
import { freshNamespace, within } from "./calls.ts";
import { missing, useStore } from "./store.ts";

const stepCount = Number(process.env["COORD_STEPS"] ?? 4000);

describe.skipIf(missing)("random steps by two clients, one on driver 6 and one on driver 7", () => {
  const store = useStore();

  test(
    "agree with the reference transitions, in answer and in record",
    { timeout: 60_000 + stepCount * 50 },
    async () => {
      const { server, db } = store();
      const client6 = new MongoClient6(server.url);
      const one = mongodbBackend({ client: client6 });
      const two = mongodbBackend({ url: server.url });
      await one.setup(within());
      const raw = db.collection<LeaseDocument>("coord_leases", { useBigInt64: true });
      const seed = Number(process.env["COORD_SEED"] ?? Date.now() % 1_000_000);
      try {
        const played = await playAll({ backends: [one, two], raw }, freshNamespace(), stepCount, seed);
        expect(played).toBeGreaterThanOrEqual(stepCount);
      } finally {
        await two.close();
        await one.close();
        await client6.close();
      }
    },
  );
});
