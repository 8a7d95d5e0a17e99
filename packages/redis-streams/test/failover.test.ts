import { whyMissing } from "@coord/test-fixtures";
import { Redis } from "ioredis";
import { Redis as Redis5 } from "ioredis-5";
import { describe, expect, test } from "vitest";
import { redisStreamsBackend } from "../src/index.ts";
import { attempt, call, freshNamespace } from "./call.ts";
import { startFakeSentinel } from "./fake-sentinel.ts";
import { startRedis, until } from "./server.ts";

const missing = await whyMissing("redis");
interface Template {
  sentinels: { host: string; port: number }[];
  name: string;
  lazyConnect: boolean;
}
const portOf = (server: { url: string }): number => Number(new URL(server.url).port);

describe.skipIf(missing !== undefined)(
  `behind Sentinel${missing ? `: ${missing}` : ""}`,
  { timeout: 60_000 },
  () => {
    test.each([
      ["6", (options: Template) => new Redis(options)],
      ["5", (options: Template) => new Redis5(options)],
    ] as const)(
      "a failover is followed, with ioredis %s: leases that replicas confirmed are kept, waiters told",
      async (_, clientOf) => {
        const settings = { "repl-diskless-sync-delay": "0" };
        await using first = await startRedis({ settings });
        await using second = await startRedis({ settings });
        let master = first;
        await using sentinel = await startFakeSentinel(() => portOf(master));
        await second.admin.replicaof("127.0.0.1", portOf(first));
        await until(async () => (await second.admin.info("replication")).includes("master_link_status:up"));

        const client = clientOf({
          sentinels: [{ host: "127.0.0.1", port: sentinel.port }],
          name: "mymaster",
          lazyConnect: true,
        });
        const backend = redisStreamsBackend({ client, minReplicas: 1 });
        try {
          const request = attempt({ namespace: freshNamespace(), key: "l\u001fname" });
          const granted = await backend.acquire(request, call());
          const fence = granted.outcome === "granted" ? granted.fence : 0n;
          let wakes = 0;
          const subscription = await backend.watch(request.name, () => wakes++, call());

          await second.admin.replicaof("NO", "ONE");
          await first.admin.replicaof("127.0.0.1", portOf(second));
          master = second;
          await until(async () => (await first.admin.info("replication")).includes("master_link_status:up"));

          const renew = () =>
            backend.renew([{ ...request, payload: undefined, fence }], call()).then(
              ([outcome]) => outcome,
              () => "unavailable", // the demoted master refuses, once
            );
          await until(async () => (await renew()) === "renewed");
          await until(() => wakes > 0 && subscription.live);
          const before = wakes;
          expect(await backend.release({ ...request, fence }, call())).toEqual({ outcome: "released" });
          expect(await until(() => wakes > before)).toBe(true);
        } finally {
          await backend.close();
          client.disconnect();
        }
      },
      60_000,
    );
  },
);
