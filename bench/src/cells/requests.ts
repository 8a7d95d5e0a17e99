import { createCoordinator } from "@coord/core";
import { gcsBackend } from "@coord/gcs";
import { startFakeGcs } from "@coord/test-fixtures";
import { pause } from "../row.ts";
import type { Effort, Row } from "../row.ts";

const ttlMs = 15_000;

/** Requests to object storage, which are what it costs in money and in time. */
export async function requests(effort: Effort): Promise<Row[]> {
  const fake = await startFakeGcs();
  fake.addBucket("bench");
  const open = () =>
    createCoordinator({
      backend: gcsBackend({ url: `gs://bench?endpoint=${fake.url}` }),
      namespace: "bench",
      cleanUp: false,
      defaults: { ttlMs, waitMs: 60_000 },
    });
  const [one, two] = [open(), open()];
  const rows: Row[] = [];
  const count = async (who: string, work: () => Promise<unknown>, aim?: string): Promise<void> => {
    const before = fake.log.length;
    await work();
    const methods = fake.log.slice(before).map(({ method }) => method);
    rows.push({
      cell: "requests of one operation",
      who,
      measured: `${methods.length}`,
      ...(aim !== undefined && { aim }),
      note: methods.join(", "),
    });
  };
  try {
    const lease = await one.acquire("key");
    await lease.release();
    let held = lease;
    await count("acquire", async () => void (held = await one.acquire("key")), "2");
    await count("renew", () => held.renew(), "1");
    await count("save a checkpoint", () => held.save({ page: 1 }), "1");
    await count("tryAcquire of a held name", () => two.tryAcquire("key"), "1");
    await count("inspect", () => two.inspect("key"));
    const waiting = two.acquire("key");
    await pause(500);
    const before = fake.log.length;
    await pause(effort.idleMs);
    const perSecond = ((fake.log.length - before) * 1000) / effort.idleMs;
    rows.push({
      cell: "one idle waiter",
      who: "coord",
      measured: `${perSecond.toFixed(1)} requests a second`,
      note: "with the holder's renewals",
    });
    await held.release();
    const got = await waiting;
    await count("release", () => got.release(), "1");
    rows.push(await oneMutationASecond(fake, one));
  } finally {
    await Promise.all([one.close(), two.close()]);
    await fake.stop();
  }
  return rows;
}

/** How fast one name goes from hand to hand where the store takes one write of an object a second. */
async function oneMutationASecond(
  fake: Awaited<ReturnType<typeof startFakeGcs>>,
  coord: ReturnType<typeof createCoordinator>,
): Promise<Row> {
  fake.minGapMs = 1000;
  const turns = 3;
  const before = fake.log.length;
  const began = performance.now();
  for (let turn = 0; turn < turns; turn += 1) await (await coord.acquire("limited")).release();
  const seconds = (performance.now() - began) / 1000;
  const writes = fake.log.slice(before).filter(({ method }) => method !== "GET");
  return {
    cell: "cycles of one name, one write a second allowed",
    who: "coord",
    measured: `${(turns / seconds).toFixed(2)} cycles/s`,
    note: `${(writes.length / seconds).toFixed(2)} writes a second, those answered 429 among them; a cycle takes two`,
  };
}
