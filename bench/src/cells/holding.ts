import type { Lease } from "@coord/core";
import { openCoord } from "../contenders.ts";
import { freshNamespace, pause } from "../row.ts";
import type { Effort, Row } from "../row.ts";
import type { BenchStore } from "../store.ts";
import { rate } from "./cycles.ts";

const atOnce = 500;

/** What it costs this process to keep many leases alive. */
export async function renewal(store: BenchStore, url: string, effort: Effort): Promise<Row[]> {
  const count = effort.quick ? store.renewals.quick : store.renewals.full;
  const { coord, contender } = await openCoord(store, url, 8, freshNamespace());
  const leases: Lease[] = [];
  for (let i = 0; i < count; i += atOnce) {
    const batch = Array.from({ length: Math.min(atOnce, count - i) }, (_, j) =>
      coord.acquire(`held:${i + j}`, { ttlMs: 30_000 }),
    );
    leases.push(...(await Promise.all(batch)));
  }
  const before = process.cpuUsage();
  const began = performance.now();
  await pause(effort.renewalMs);
  const { user, system } = process.cpuUsage(before);
  const share = (user + system) / 1000 / (performance.now() - began);
  const lost = leases.filter((lease) => lease.state !== "held").length;
  for (let i = 0; i < leases.length; i += atOnce) {
    await Promise.all(leases.slice(i, i + atOnce).map((lease) => lease.release()));
  }
  await contender.close();
  return [
    {
      cell: `${count} leases kept alive, ttl 30 s`,
      who: "coord",
      measured: `${(share * 100).toFixed(1)} % of one core`,
      note: `${lost} lost in ${effort.renewalMs / 1000} s`,
    },
  ];
}

/** One cycle beside ever more names in the store. */
export async function names(store: BenchStore, url: string, effort: Effort): Promise<Row[]> {
  if (store.fill === undefined) return [];
  const rows: Row[] = [];
  let first: number | undefined;
  for (const count of [100, 10_000, 1_000_000].filter((each) => each <= store.mostNames)) {
    await store.fill(url, count);
    const { contender } = await openCoord(store, url, 1, freshNamespace());
    await rate(contender, 1, effort.namesMs / 2);
    const each = 1000 / (await rate(contender, 1, effort.namesMs));
    first ??= each;
    rows.push({
      cell: "one cycle beside many names",
      who: `${count.toLocaleString("en")} names`,
      measured: `${each.toFixed(2)} ms`,
      note: `${(each / first).toFixed(2)} of that beside 100`,
    });
    await contender.close();
  }
  return rows;
}
