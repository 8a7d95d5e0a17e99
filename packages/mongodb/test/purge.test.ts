import type { Name } from "@coord/core";
import { describe, expect, test } from "vitest";
import { mongodbBackend } from "../src/index.ts";
import { freshId, freshNamespace, within } from "./calls.ts";
import type { LeaseDocument } from "./model.ts";
import { missing, useStore } from "./store.ts";

const slow = process.env["CI"] !== undefined || process.env["COORD_SLOW"] !== undefined;
const sweepLimitMs = 150_000;

describe.skipIf(missing)("the server's own sweeper", () => {
  const store = useStore();

  test(
    "clears what is past its purge time, and neither what is kept, held, nor sealed and not released",
    { timeout: sweepLimitMs + 30_000 },
    async ({ skip }) => {
      skip(!slow, "takes the server a minute: set COORD_SLOW=1");
      const { db } = store();
      const backend = mongodbBackend({ db });
      await backend.setup(within());
      const namespace = freshNamespace();
      const make = async (
        key: string,
        end: { retainMs: number | null; release: boolean; sealed?: boolean; ttlMs?: number },
      ): Promise<Name> => {
        const name = { namespace, key };
        const { retainMs, release, sealed = false, ttlMs = 1000 } = end;
        const grantId = freshId();
        await backend.acquire({ name, grantId, holder: "purge", ttlMs, sealed, retainMs }, within());
        if (release) await backend.release({ name, grantId, fence: null, sealed, retainMs }, within());
        return name;
      };
      // These go.
      await make("released", { retainMs: 0, release: true });
      await make("released with a seal", { retainMs: 0, release: true, sealed: true });
      await make("lapsed", { retainMs: 0, release: false });
      const kept = [
        await make("for ever", { retainMs: null, release: true }),
        await make("for an hour", { retainMs: 3_600_000, release: true }),
        await make("held", { retainMs: 0, release: false, ttlMs: 600_000 }),
        await make("lapsed with a seal", { retainMs: 0, release: false, sealed: true }),
      ];
      // A lapsed lease is taken over at once, with its sweeper still asleep.
      const early = await make("taken over", { retainMs: 600_000, release: false });
      await expect
        .poll(async () => (await backend.inspect(early, within()))?.state, { timeout: 10_000 })
        .toBe("lapsed");
      const taken = await backend.acquire(
        { name: early, grantId: freshId(), holder: "purge", ttlMs: 600_000, sealed: false, retainMs: 0 },
        within(),
      );
      expect(taken.outcome).toBe("granted");

      const left = async (): Promise<string[]> => {
        const found = await db
          .collection<LeaseDocument>("coord_leases")
          .find({ _id: { $gte: `${namespace}:`, $lt: `${namespace};` } })
          .toArray();
        return found.map(({ _id: id }) => id.slice(namespace.length + 1)).toSorted();
      };
      const expected = [...kept, early].map(({ key }) => key).toSorted();
      await expect.poll(left, { timeout: sweepLimitMs, interval: 1000 }).toEqual(expected);
    },
  );
});
