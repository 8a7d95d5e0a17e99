import type { VersionedStore } from "./versioned-backend.ts";

/** A store with versions in this process, as a server with etags or revisions would be. */
export function versionedMap(): VersionedStore {
  const values = new Map<string, { value: string; version: number }>();
  let last = 0;
  const timeMs = (): number => performance.timeOrigin + performance.now();
  const answer = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve));
  return {
    async get(key) {
      const { value = null, version = 0 } = values.get(key) ?? {};
      const at = timeMs();
      await answer();
      return { value, version, timeMs: at };
    },
    async put(key, value, version) {
      await answer();
      if ((values.get(key)?.version ?? 0) !== version) return null;
      last += 1;
      if (value === null) values.delete(key);
      else values.set(key, { value, version: last });
      return { version: last, timeMs: timeMs() };
    },
    async keys(prefix) {
      await answer();
      return [...values.keys()].filter((key) => key.startsWith(prefix));
    },
  };
}
