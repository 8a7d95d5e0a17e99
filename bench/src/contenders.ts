import { createCoordinator } from "@coord/core";
import type { Coordinator } from "@coord/core";
import type { BenchStore, Contender } from "./store.ts";

export interface Coord {
  readonly coord: Coordinator;
  readonly contender: Contender;
}

/** coord on a backend of its own, with everything as it is by default but clean-up, which would come in between. */
export async function openCoord(
  store: BenchStore,
  url: string,
  connections: number,
  namespace: string,
): Promise<Coord> {
  const { backend, close } = await store.backend(url, connections);
  const coord = createCoordinator({ backend, namespace, cleanUp: false, defaults: { waitMs: 120_000 } });
  const contender: Contender = {
    name: "coord",
    async cycle(key) {
      await (await coord.acquire(key)).release();
    },
    under: (key, work) => coord.withLease(key, work),
    close: () => coord.close().then(close),
  };
  return { coord, contender };
}

/** coord first, then the other libraries. */
export async function contendersOf(
  store: BenchStore,
  url: string,
  connections: number,
  namespace: string,
): Promise<Contender[]> {
  const { contender } = await openCoord(store, url, connections, namespace);
  return [contender, ...((await store.peers?.(url, connections)) ?? [])];
}
