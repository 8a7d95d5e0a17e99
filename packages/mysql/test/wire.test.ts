import { start, startProxy } from "@coord/test-fixtures";
import { afterAll, describe, expect, test } from "vitest";
import { mysqlBackend } from "../src/index.ts";
import {
  acquireRequest,
  call,
  flavors,
  freshName,
  overruleRequest,
  poolOf,
  releaseRequest,
} from "./harness.ts";

describe.each(flavors)(
  "round trips on %s",
  async (flavor) => {
    const server = await start("mysql", { flavor });
    const proxy = await startProxy(server.url);
    const pool = poolOf(proxy.url, { connectionLimit: 1 });
    const backend = mysqlBackend({ client: pool, wake: false });
    await backend.setup(call());
    afterAll(async () => {
      await pool.end();
      await proxy.stop();
      await server.stop();
    });

    async function trips(step: () => Promise<unknown>): Promise<number> {
      const before = proxy.roundTrips;
      await step();
      return proxy.roundTrips - before;
    }

    test("each operation sends what its page says", async () => {
      const name = freshName();
      const request = acquireRequest(name);
      const counted: Record<string, number> = {};
      counted["acquire"] = await trips(() => backend.acquire(request, call()));
      const record = await backend.inspect(name, call());
      const grant = { name, grantId: request.grantId, fence: record?.fence ?? 0n };
      counted["refused"] = await trips(() => backend.acquire(acquireRequest(name), call()));
      counted["refused again"] = await trips(() => backend.acquire(acquireRequest(name), call()));
      counted["renew"] = await trips(() => backend.renew([{ ...grant, ttlMs: 60_000 }], call()));
      counted["save"] = await trips(() =>
        backend.renew([{ ...grant, ttlMs: 60_000, payload: "p", payloadSeq: 1 }], call()),
      );
      counted["inspect"] = await trips(() => backend.inspect(name, call()));
      counted["release"] = await trips(() => backend.release(releaseRequest(grant), call()));
      counted["lost release"] = await trips(() =>
        backend.release(releaseRequest({ ...grant, fence: 1n }), call()),
      );
      counted["overrule"] = await trips(() =>
        backend.overrule(overruleRequest(name, grant.fence, { released: true }), call()),
      );
      counted["list"] = await trips(() =>
        backend.list({ namespace: name.namespace, prefix: "", limit: 10 }, call()),
      );
      counted["prune"] = await trips(() => backend.prune({ limit: 100 }, call()));
      const large = acquireRequest(freshName(), { payload: "p".repeat(5000) });
      counted["large payload"] = await trips(() => backend.acquire(large, call()));
      expect(counted).toEqual({
        acquire: 1,
        refused: 2,
        "refused again": 1,
        renew: 1,
        save: 1,
        inspect: 1,
        release: 1,
        "lost release": 2,
        overrule: 1,
        list: 1,
        prune: 1,
        "large payload": 4,
      });
    });

    test("a refused attempt carries no payload unless asked, and a heartbeat does not send one", async () => {
      const payload = "p".repeat(200_000);
      const request = acquireRequest(freshName(), { payload });
      await backend.acquire(request, call());
      const fence = (await backend.inspect(request.name, call()))?.fence ?? 0n;
      const before = proxy.bytes.toClient + proxy.bytes.toServer;
      await backend.acquire(acquireRequest(request.name), call());
      await backend.renew([{ name: request.name, grantId: request.grantId, fence, ttlMs: 60_000 }], call());
      expect(proxy.bytes.toClient + proxy.bytes.toServer - before).toBeLessThan(20_000);
      const asked = await backend.acquire(acquireRequest(request.name, { withPayload: true }), call());
      expect(asked).toMatchObject({ outcome: "refused", record: { payload } });
    });
  },
  60_000,
);
