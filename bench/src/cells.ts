import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { createCoordinator } from "@coord/core";
import type { Coordinator, Lease } from "@coord/core";
import type { BenchStore, Contender } from "./store.ts";

export interface Row {
  readonly cell: string;
  readonly what: string;
  readonly figure: string;
  readonly ratio: string;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));
const at = (): number => performance.timeOrigin + performance.now();
let namespaces = 0;
const freshNamespace = (): string => `bench_${process.pid}_${(namespaces += 1)}`;

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? NaN;
}

function coordContender(coord: Coordinator, close: () => Promise<void>): Contender {
  return {
    name: "coord",
    async cycle(key) {
      await (await coord.acquire(key)).release();
    },
    under: (key, work) => coord.withLease(key, { waitMs: 60_000 }, work),
    close: () => coord.close().then(close),
  };
}

async function open(
  store: BenchStore,
  url: string,
  connections: number,
): Promise<{ coord: Coordinator; contender: Contender }> {
  const { backend, close } = await store.backend(url, connections);
  const coord = createCoordinator({
    backend,
    namespace: freshNamespace(),
    cleanUp: false,
    defaults: { waitMs: 60_000 },
  });
  return { coord, contender: coordContender(coord, close) };
}

/** Cycles a second with `inFlight` at once. */
async function rate(
  contender: Contender,
  keys: readonly string[],
  inFlight: number,
  lastMs: number,
): Promise<number> {
  let cycles = 0;
  const began = performance.now();
  const worker = async (own: number): Promise<void> => {
    for (let i = own; performance.now() - began < lastMs; i += inFlight) {
      await contender.cycle(keys[i % keys.length] ?? "");
      cycles += 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, (_, i) => worker(i)));
  return (cycles / (performance.now() - began)) * 1000;
}

/** Acquire and release without contention, rounds of all contenders interleaved, so that they meet the same load. */
export async function cycles(
  store: BenchStore,
  url: string,
  inFlight: number,
  lastMs: number,
): Promise<Row[]> {
  const keys = Array.from({ length: 64 }, (_, i) => `key:${i}`);
  const { contender } = await open(store, url, inFlight);
  const contenders = [
    await store.bare(url, inFlight, keys),
    contender,
    ...(await store.peers(url, inFlight)),
  ];
  const rates = contenders.map((): number[] => []);
  const rounds = 5;
  for (let round = 0; round <= rounds; round += 1) {
    for (const [i, each] of contenders.entries()) {
      const measured = await rate(each, keys, inFlight, lastMs / rounds);
      if (round > 0) rates[i]?.push(measured); // The first round warms up.
    }
  }
  await Promise.all(contenders.map((each) => each.close()));
  const medians = rates.map((each) => quantile(each, 0.5));
  return contenders.map((each, i) => ({
    cell: `acquire + release, ${inFlight} in flight`,
    what: each.name,
    figure: `${Math.round(medians[i] ?? NaN)} cycles/s`,
    ratio: `${((medians[0] ?? NaN) / (medians[i] ?? NaN)).toFixed(2)} x the time of ${store.bareText}`,
  }));
}

const childOf = (
  role: string,
  store: BenchStore,
  url: string,
  namespace: string,
  rounds: number,
): ChildProcess =>
  fork(
    fileURLToPath(new URL("child.ts", import.meta.url)),
    [role, store.name, url, namespace, String(rounds)],
    {
      execArgv: ["--conditions=source", "--import", "tsx"],
    },
  );

const message = <T>(child: ChildProcess): Promise<T> =>
  new Promise((resolve, reject) => {
    child.once("message", (value) => resolve(value as T));
    child.once("exit", (code) => reject(new Error(`a child ended with ${code}`)));
  });

/** From the call of release in one process to the grant in another, which was waiting. */
export async function handOff(store: BenchStore, url: string, rounds: number): Promise<Row[]> {
  const namespace = freshNamespace();
  const children = [0, 1].map(() => childOf("relay", store, url, namespace, rounds));
  await Promise.all(children.map((child) => message(child)));
  const results = children.map((child) => message<{ granted: number[]; released: number[] }>(child));
  for (const child of children) child.send("go");
  const events = (await Promise.all(results)).flatMap(({ granted, released }, child) => [
    ...granted.map((time) => ({ time, child, what: "granted" })),
    ...released.map((time) => ({ time, child, what: "released" })),
  ]);
  const ordered = events.toSorted((a, b) => a.time - b.time);
  const waits = ordered.flatMap((event, i) => {
    const before = ordered[i - 1];
    return event.what === "granted" && before?.what === "released" && before.child !== event.child
      ? [event.time - before.time]
      : [];
  });
  return [
    {
      cell: "hand-off between two processes",
      what: "coord",
      figure: `p50 ${quantile(waits, 0.5).toFixed(2)} ms, p99 ${quantile(waits, 0.99).toFixed(2)} ms`,
      ratio: `${waits.length} hand-offs, from calling release to the grant`,
    },
  ];
}

/** 20 contenders for one key, 10 ms of work each. */
export async function crowd(store: BenchStore, url: string): Promise<Row[]> {
  const rows: Row[] = [];
  const { contender } = await open(store, url, 4);
  for (const each of [contender, ...(await store.peers(url, 4))]) {
    const { under } = each;
    if (under !== undefined) {
      const times: number[] = [];
      for (let round = 0; round < 5; round += 1) {
        const began = performance.now();
        await Promise.all(Array.from({ length: 20 }, () => under(`crowd:${round}`, () => pause(10))));
        times.push(performance.now() - began);
      }
      rows.push({
        cell: "20 x 10 ms, one process",
        what: each.name,
        figure: `${Math.round(quantile(times, 0.5))} ms`,
        ratio: "200 ms is the least",
      });
    }
    await each.close();
  }
  const namespace = freshNamespace();
  const children = Array.from({ length: 20 }, () => childOf("crowd", store, url, namespace, 1));
  await Promise.all(children.map((child) => message(child)));
  const done = children.map((child) => message<{ done: number }>(child));
  const began = at();
  for (const child of children) child.send("go");
  const last = Math.max(...(await Promise.all(done)).map((each) => each.done));
  rows.push({
    cell: "20 x 10 ms, 20 processes",
    what: "coord",
    figure: `${Math.round(last - began)} ms`,
    ratio: "200 ms is the least",
  });
  return rows;
}

/** What it costs this process to keep many leases alive. */
export async function renewal(store: BenchStore, url: string, count: number): Promise<Row[]> {
  const { coord, contender } = await open(store, url, 8);
  const leases: Lease[] = [];
  for (let i = 0; i < count; i += 500) {
    const batch = Array.from({ length: Math.min(500, count - i) }, (_, j) =>
      coord.acquire(`held:${i + j}`, { ttlMs: 30_000 }),
    );
    leases.push(...(await Promise.all(batch)));
  }
  const before = process.cpuUsage();
  const began = performance.now();
  await pause(20_000);
  const used = process.cpuUsage(before);
  const share = (used.user + used.system) / 1000 / (performance.now() - began);
  const lost = leases.filter((lease) => lease.state !== "held").length;
  await Promise.all(leases.map((lease) => lease.release()));
  await contender.close();
  return [
    {
      cell: `renewal of ${count} leases, ttl 30 s`,
      what: "coord",
      figure: `${(share * 100).toFixed(1)} % of one core`,
      ratio: `${lost} lost`,
    },
  ];
}

/** One cycle beside ever more names in the table. */
export async function names(store: BenchStore, url: string, counts: readonly number[]): Promise<Row[]> {
  if (store.fill === undefined) return [];
  const rows: Row[] = [];
  let first: number | undefined;
  for (const count of counts) {
    await store.fill(url, count);
    const { contender } = await open(store, url, 1);
    const keys = Array.from({ length: 64 }, (_, i) => `key:${i}`);
    await rate(contender, keys, 1, 500);
    const each = 1000 / (await rate(contender, keys, 1, 2000));
    first ??= each;
    rows.push({
      cell: "one cycle beside many names",
      what: `${count} names`,
      figure: `${each.toFixed(3)} ms`,
      ratio: `${(each / first).toFixed(2)} x that of ${counts[0]} names`,
    });
    await contender.close();
  }
  return rows;
}
