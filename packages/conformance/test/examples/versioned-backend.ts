import type { Backend, LeaseRecord, Name, RecordView, Seen } from "@coord/core";
import { casBackend, compareKeys, transitions, view } from "@coord/core";

/** What this needs of a store: a version with each value, writes on condition of it, and the store's clock. */
export interface VersionedStore {
  get(key: string): Promise<{ value: string | null; version: number; timeMs: number }>;
  /** Writes (`null` deletes) if the version still stands, 0 for no value; `null` when it does not. */
  put(
    key: string,
    value: string | null,
    version: number,
  ): Promise<{ version: number; timeMs: number } | null>;
  /** All keys that begin with `prefix`. */
  keys(prefix: string): Promise<string[]>;
}

type Stored = Omit<LeaseRecord, "fence"> & { readonly fence: string };

const keyOf = ({ namespace, key }: Name): string => `${namespace}\u0000${key}`;

function decode(value: string | null): LeaseRecord | null {
  if (value === null) return null;
  const stored: Stored = JSON.parse(value);
  return { ...stored, fence: BigInt(stored.fence) };
}

const encode = (record: LeaseRecord): string => JSON.stringify({ ...record, fence: String(record.fence) });

/** Leases in any store that knows conditional writes; `casBackend` makes the five steps of them. */
export function versionedBackend(store: VersionedStore): Backend {
  const toUs = (timeMs: number): bigint => BigInt(Math.floor(timeMs)) * 1000n;

  async function read(key: string): Promise<Seen<number>> {
    const sentAt = performance.now();
    const { value, version, timeMs } = await store.get(key);
    return { record: decode(value), version, nowUs: toUs(timeMs), sentAt };
  }
  async function matching(prefix: string): Promise<RecordView[]> {
    const seen = await Promise.all((await store.keys(prefix)).map(read));
    return seen.flatMap(({ record, nowUs }) => (record === null ? [] : view(record, nowUs)));
  }

  return casBackend<number>({
    info: { name: "versioned", minTtlMs: 50 },
    read: (name) => read(keyOf(name)),
    async swap(name, seen, record) {
      const sentAt = performance.now();
      const written = await store.put(keyOf(name), encode(record), seen.version);
      return written && { record, version: written.version, nowUs: toUs(written.timeMs), sentAt };
    },
    list: async ({ namespace, prefix, state, sealed, after, limit }) =>
      (await matching(keyOf({ namespace, key: prefix })))
        .filter(({ key }) => after === undefined || compareKeys(key, after) > 0)
        .filter((record) => state === undefined || record.state === state)
        .filter((record) => sealed === undefined || record.sealed === sealed)
        .map((record) => ({ ...record, payload: undefined }))
        .toSorted((a, b) => compareKeys(a.key, b.key))
        .slice(0, limit),
    async prune({ limit }) {
      let deleted = 0;
      for (const key of await store.keys("")) {
        if (deleted === limit) break;
        const { record, version, nowUs } = await read(key);
        const old = record !== null && transitions.isPurgeable(record, nowUs);
        if (old && (await store.put(key, null, version)) !== null) deleted += 1;
      }
      return deleted;
    },
    setup: async () => {},
    async diagnose() {
      const beforeMs = Date.now();
      const { timeMs } = await store.get("clock");
      return { findings: [], clock: { storeMs: timeMs, beforeMs, afterMs: Date.now() } };
    },
    close: async () => {},
  });
}
