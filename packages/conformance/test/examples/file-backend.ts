import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Backend, LeaseRecord, Name, Step } from "@coord/core";
import { compareKeys, transitions, UnavailableError, view } from "@coord/core";

const nowUs = (): bigint => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000));
const isMissing = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "ENOENT";
/** Who is at work on a file; the next one waits. This is what makes read-and-write one atomic step. */
const turns = new Map<string, Promise<unknown>>();

type Stored = Omit<LeaseRecord, "fence"> & { readonly fence: string };

/** Leases in a folder, one file each, for the contenders of a single process. */
export function fileBackend(folder: string): Backend {
  const fileOf = ({ namespace, key }: Name): string =>
    join(folder, `${createHash("sha256").update(`${namespace}\u0000${key}`).digest("hex")}.json`);

  async function read(file: string): Promise<LeaseRecord | null> {
    try {
      const stored: Stored = JSON.parse(await readFile(file, "utf8"));
      return { ...stored, fence: BigInt(stored.fence) };
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }
  async function write(file: string, record: LeaseRecord): Promise<void> {
    await writeFile(`${file}.new`, JSON.stringify({ ...record, fence: String(record.fence) }));
    await rename(`${file}.new`, file);
  }
  function inTurn<T>(file: string, work: () => Promise<T>): Promise<T> {
    const turn = (turns.get(file) ?? Promise.resolve()).then(work).catch((cause: unknown) => {
      throw new UnavailableError(`file: ${file} failed. Check the folder's rights and space.`, { cause });
    });
    const settled = turn.catch(() => {}).finally(() => turns.get(file) === settled && turns.delete(file));
    turns.set(file, settled);
    return turn;
  }
  const decide = <T>(name: Name, step: (before: LeaseRecord | null, now: bigint) => Step<T>): Promise<T> =>
    inTurn(fileOf(name), async () => {
      const before = await read(fileOf(name));
      const { record, result } = step(before, nowUs());
      if (record !== before && record !== null) await write(fileOf(name), record);
      return result;
    });
  async function all(): Promise<LeaseRecord[]> {
    const files = (await readdir(folder)).filter((file) => file.endsWith(".json"));
    const records = await Promise.all(files.map((file) => inTurn(file, () => read(join(folder, file)))));
    return records.filter((record) => record !== null);
  }

  return {
    info: { name: "file", minTtlMs: 50 },
    acquire: (request) => decide(request.name, (before, now) => transitions.acquire(before, request, now)),
    renew: (requests) =>
      Promise.all(
        requests.map((request) =>
          decide(request.name, (before, now) => transitions.renew(before, request, now)),
        ),
      ),
    release: (request) => decide(request.name, (before, now) => transitions.release(before, request, now)),
    overrule: (request) => decide(request.name, (before, now) => transitions.overrule(before, request, now)),
    inspect: (name) =>
      decide(name, (record, now) => ({ record, result: record === null ? null : view(record, now) })),
    list: async ({ namespace, prefix, state, sealed, after, limit }) =>
      (await all())
        .filter((record) => record.namespace === namespace && record.key.startsWith(prefix))
        .filter(({ key }) => after === undefined || compareKeys(key, after) > 0)
        .map((record) => ({ ...view(record, nowUs()), payload: undefined }))
        .filter((record) => state === undefined || record.state === state)
        .filter((record) => sealed === undefined || record.sealed === sealed)
        .toSorted((a, b) => compareKeys(a.key, b.key))
        .slice(0, limit),
    async prune({ limit }) {
      let deleted = 0;
      for (const name of await all()) {
        if (deleted === limit) break;
        deleted += await inTurn(fileOf(name), async () => {
          const record = await read(fileOf(name));
          if (record === null || !transitions.isPurgeable(record, nowUs())) return 0;
          await rm(fileOf(name));
          return 1;
        });
      }
      return deleted;
    },
    setup: async () => void (await mkdir(folder, { recursive: true })),
    diagnose: async () => {
      const storeMs = Number(nowUs() / 1000n);
      return { findings: [], clock: { storeMs, beforeMs: storeMs, afterMs: storeMs } };
    },
    close: async () => {},
  };
}
