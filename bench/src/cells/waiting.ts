import { startProxy } from "@coord/test-fixtures";
import { withChildren } from "../children.ts";
import { contendersOf } from "../contenders.ts";
import { at, freshNamespace, median, pause, quantile } from "../row.ts";
import type { Effort, Row } from "../row.ts";
import type { BenchStore, Contender } from "../store.ts";

/** The milliseconds between a release in one process and the grant in another that comes next. */
function handOffs(
  results: readonly { readonly granted: readonly number[]; readonly released: readonly number[] }[],
): number[] {
  const events = results.flatMap(({ granted, released }, child) => [
    ...granted.map((time) => ({ time, child, isGrant: true })),
    ...released.map((time) => ({ time, child, isGrant: false })),
  ]);
  const ordered = events.toSorted((a, b) => a.time - b.time);
  return ordered.flatMap((event, i) => {
    const before = ordered[i - 1];
    const passed = event.isGrant && before !== undefined && !before.isGrant && before.child !== event.child;
    return passed ? [event.time - before.time] : [];
  });
}

/** From the call of release in one process to the grant in another, which was waiting. */
export async function handOff(store: BenchStore, url: string, effort: Effort): Promise<Row[]> {
  const { p50Ms, p99Ms } = store.aims.handOff ?? {};
  const aims = [
    ...(p50Ms === undefined ? [] : [`p50 < ${p50Ms} ms`]),
    ...(p99Ms === undefined ? [] : [`p99 < ${p99Ms} ms`]),
  ].join(", ");
  return withChildren(2, store, url, freshNamespace(), async (children) => {
    const rows: Row[] = [];
    for (const { contender, who } of children[0]?.waiters ?? []) {
      const task = { kind: "relay", contender, key: `relay:${process.pid}`, lastMs: effort.relayMs } as const;
      const waits = handOffs(await Promise.all(children.map((child) => child.do(task))));
      const isFew = waits.length < 5;
      rows.push({
        cell: "hand-off between two processes",
        who,
        measured: isFew
          ? `${waits.length} hand-offs`
          : `p50 ${median(waits).toFixed(1)} ms, p99 ${quantile(waits, 0.99).toFixed(1)} ms`,
        ...(who === "coord" && aims !== "" && { aim: aims }),
        note: isFew
          ? `in ${effort.relayMs / 1000} s: one process keeps the name`
          : `${waits.length} hand-offs in ${effort.relayMs / 1000} s`,
      });
    }
    return rows;
  });
}

const contenderCount = 20;
const leastText = "200 ms is the least";

async function crowdTogether(contender: Contender, rounds: number): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const began = performance.now();
    const one = (): Promise<void> =>
      contender.under?.(`crowd:${process.pid}:${round}`, () => pause(10)) ?? Promise.resolve();
    await Promise.all(Array.from({ length: contenderCount }, one));
    times.push(performance.now() - began);
  }
  return median(times);
}

/** 20 contenders for one key, 10 ms of work each. */
export async function crowd(store: BenchStore, url: string, effort: Effort): Promise<Row[]> {
  const rows: Row[] = [];
  const { oneProcessMs, manyProcessesMs } = store.aims.crowd ?? {};
  const rounds = effort.quick ? 3 : 7;
  const row = (cell: string, who: string, ms: number, aimMs: number | undefined): void =>
    void rows.push({
      cell,
      who,
      measured: `${Math.round(ms)} ms`,
      ...(who === "coord" && aimMs !== undefined && { aim: `< ${aimMs} ms` }),
      note: leastText,
    });
  for (const each of await contendersOf(store, url, 4, freshNamespace())) {
    if (each.under !== undefined) {
      row("20 × 10 ms, in one process", each.name, await crowdTogether(each, rounds), oneProcessMs);
    }
    await each.close();
  }
  await withChildren(contenderCount, store, url, freshNamespace(), async (children) => {
    for (const { contender, who } of children[0]?.waiters ?? []) {
      const times: number[] = [];
      for (let round = 0; round < rounds; round += 1) {
        const task = { kind: "crowd", contender, key: `crowd:${process.pid}:${round}`, lastMs: 0 } as const;
        const began = at();
        const results = await Promise.all(children.map((child) => child.do(task)));
        times.push(Math.max(...results.flatMap(({ released }) => released)) - began);
      }
      row("20 × 10 ms, in 20 processes", who, median(times), manyProcessesMs);
    }
  });
  return rows;
}

/** What somebody who waits sends while nothing happens, counted on the wire; holders are elsewhere. */
export async function idle(store: BenchStore, url: string, effort: Effort): Promise<Row[]> {
  const namespace = freshNamespace();
  const holders = await contendersOf(store, url, 2, namespace);
  const rows = holders.map(async (holder, i): Promise<Row[]> => {
    if (holder.under === undefined) return [];
    const proxy = await startProxy(url);
    const waiters = await contendersOf(store, proxy.url, 2, namespace);
    const [waiter] = waiters.splice(i, 1);
    await Promise.all(waiters.map((each) => each.close())); // What they send is not its.
    const key = `idle:${process.pid}`;
    let sent = 0;
    let granted: (() => void) | undefined;
    const isHeld = new Promise<void>((resolve) => (granted = resolve));
    const holding = holder.under(key, async () => {
      granted?.();
      await pause(2000); // The waiter connects, asks, and subscribes.
      const before = proxy.roundTrips;
      await pause(effort.idleMs);
      sent = proxy.roundTrips - before;
    });
    await isHeld;
    await waiter?.under?.(key, async () => {});
    await holding;
    await Promise.all([waiter?.close(), holder.close()]);
    // The proxy stays: timers of some libraries use a connection for a while after it was closed.
    return [
      {
        cell: "one idle waiter",
        who: holder.name,
        measured: `${((sent * 2000) / effort.idleMs).toFixed(1)} requests in 2 s`,
        ...(holder.name === "coord" && store.aims.idle !== undefined && { aim: `< ${store.aims.idle}` }),
        note: "counted on the wire",
      },
    ];
  });
  return (await Promise.all(rows)).flat();
}
