import { compareKeys, InvalidArgumentError, isCoordError, UnavailableError } from "@coord/core";
import type { Backend, BackendInfo, CallOptions, Finding, ListRequest, Name, RecordView } from "@coord/core";
import { type ClientOrUrl, sourceOf } from "./client.ts";
import { createCommands } from "./commands.ts";
import type { Argument, Step } from "./evaluate.ts";
import { checkLayout, checkServers, diagnose } from "./health.ts";
import { type Partition, partition, partitionOfName } from "./keys.ts";
import { forked, limited, within } from "./limit.ts";
import { createReader, type Reader } from "./reader.ts";
import { renewAll } from "./renew.ts";
import { acquireResult, listed, overruleResult, releaseResult, viewOrNull } from "./replies.ts";
import { compileScripts, type Scripts } from "./scripts.ts";

interface CommonOptions {
  /**
   * Into how many slots each namespace is spread, 1 to 64: on a cluster the load is shared by so many slots,
   * and a waiting process opens up to so many connections. The same for all who use the namespace, for ever:
   * the namespace remembers it, and another number is refused.
   *
   * @default 1, on a cluster 8
   */
  partitions?: number | undefined;
  /**
   * How many replicas must have a step before it is confirmed (`WAIT`), 0 to 16. It makes it unlikely that a
   * failover forgets a grant, not impossible: Redis may promote a replica that was not among them.
   *
   * @default 0
   */
  minReplicas?: number | undefined;
}

export type RedisStreamsBackendOptions = CommonOptions & ClientOrUrl;

/** Leases in Redis or Valkey; waiters are woken. */
export interface RedisStreamsBackend extends Backend {
  readonly info: BackendInfo;
  watch: NonNullable<Backend["watch"]>;
}

const defaultClusterPartitions = 8;
const maxPartitions = 64;
const maxReplicas = 16;
/** How many names one call of the list script looks at: about 4 ms of the server's time. */
const namesPerScan = 1000;

/** How long a check of the server may take, in ms; each caller waits by its own limit. */
const checkMs = 5000;

const notStarted = (cause: unknown): UnavailableError =>
  new UnavailableError("Redis could not be checked, so the step was not sent", { cause, notDone: true });

const flag = (value: boolean | undefined): string => (value ? "1" : "0");
const retain = (retainMs: number | null): number => retainMs ?? -1;
const optional = (payload: string | undefined): Argument[] => (payload === undefined ? [] : [payload]);

function checkedInteger(option: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new InvalidArgumentError(`${option} must be an integer from ${least} to ${most}, got ${value}`);
}

/**
 * Leases in Redis 7 or later, or Valkey: standalone, behind Sentinel, or a cluster.
 *
 * @throws {InvalidArgumentError} on options that can't work; nothing is sent before the first operation.
 */
export function redisStreamsBackend(options: RedisStreamsBackendOptions): RedisStreamsBackend {
  return backendWith(options, compileScripts());
}

/** As `redisStreamsBackend`, with the scripts given. */
export function backendWith(options: RedisStreamsBackendOptions, scripts: Scripts): RedisStreamsBackend {
  const source = sourceOf(options);
  const defaultPartitions = source.cluster ? defaultClusterPartitions : 1;
  const partitions = checkedInteger("partitions", options.partitions ?? defaultPartitions, 1, maxPartitions);
  const minReplicas = checkedInteger("minReplicas", options.minReplicas ?? 0, 0, maxReplicas);
  const commands = createCommands(source, minReplicas);
  const readers = new Map<string, Reader>();
  const layouts = new Map<string, Promise<unknown>>();
  let servers: Promise<void> | undefined;

  function serversChecked(): Promise<void> {
    servers ??= checkServers(commands, within(checkMs)).catch((error: unknown) => {
      servers = undefined;
      throw error;
    });
    return servers;
  }

  function namespaceChecked(namespace: string): Promise<unknown> {
    const known = layouts.get(namespace);
    if (known !== undefined) return known;
    const layout = checkLayout(commands, scripts, namespace, partitions, within(checkMs));
    const checked = Promise.all([serversChecked(), layout]).catch((error: unknown) => {
      layouts.delete(namespace);
      throw isCoordError(error, "COORD_UNAVAILABLE") ? notStarted(error) : error;
    });
    layouts.set(namespace, checked);
    return checked;
  }

  /** Before the first step in a namespace: the server is fit, and nobody else lays the namespace out differently. */
  async function ready(namespace: string, call: CallOptions): Promise<void> {
    await limited(namespaceChecked(namespace), call, notStarted);
  }

  const place = (name: Name): Partition => partitionOfName(name, partitions);

  function readerFor(at: Partition): Reader {
    const found = readers.get(at.records);
    if (found !== undefined) return found;
    const onEnd = (): void => void readers.delete(at.records);
    const reader = createReader({ source, commands, scripts, partition: at, onEnd });
    readers.set(at.records, reader);
    return reader;
  }

  async function listPartition(
    at: Partition,
    request: ListRequest,
    call: CallOptions,
  ): Promise<RecordView[]> {
    const { namespace, prefix, after, limit } = request;
    const end = Buffer.concat([Buffer.from(`(${prefix}`), Buffer.of(0xff)]); // no UTF-8 has this byte
    const sealed = request.sealed === undefined ? "" : flag(request.sealed);
    let start = after !== undefined && compareKeys(after, prefix) >= 0 ? `(${after}` : `[${prefix}`;
    const found: RecordView[] = [];
    for (;;) {
      const args = [at.records, start, end, limit - found.length, request.state ?? "", sealed, namesPerScan];
      const { next, views } = listed(
        namespace,
        await commands.run({ script: scripts.list, keys: [at.names], args }, call),
      );
      found.push(...views);
      if (next === "" || found.length >= limit) return found;
      start = `(${next}`;
    }
  }

  return {
    info: { name: "redis-streams", prunes: false },

    async acquire(request, call) {
      const { name, from, ifFence } = request;
      await ready(name.namespace, call);
      const at = place(name);
      readers.get(at.records)?.tried(name.key);
      const args = [
        name.key,
        request.grantId,
        request.holder,
        request.ttlMs,
        flag(request.sealed),
        retain(request.retainMs),
        ifFence === undefined ? "" : String(ifFence),
        from?.grantId ?? "",
        from === undefined ? "" : String(from.fence),
        flag(request.withPayload),
        ...optional(request.payload),
      ];
      const keys: Step["keys"] = [at.records + name.key, at.names];
      return acquireResult(name, await commands.runReplicated({ script: scripts.acquire, keys, args }, call));
    },

    async renew(requests, call) {
      const namespaces = new Set(requests.map(({ name }) => name.namespace));
      for (const namespace of namespaces) await ready(namespace, call);
      return await forked(call, (each) => renewAll(commands, scripts.renew, place, requests, each));
    },

    async release(request, call) {
      const { name, fence } = request;
      await ready(name.namespace, call);
      const at = place(name);
      const args = [
        name.key,
        request.grantId,
        fence === null ? "" : String(fence),
        flag(request.sealed),
        retain(request.retainMs),
        ...optional(request.payload),
      ];
      const keys: Step["keys"] = [at.records + name.key, at.waiters(name.key)];
      return releaseResult(name, await commands.runReplicated({ script: scripts.release, keys, args }, call));
    },

    async overrule(request, call) {
      const { name } = request;
      await ready(name.namespace, call);
      const at = place(name);
      const args = [
        name.key,
        request.grantId,
        String(request.fence),
        flag(request.released),
        flag(request.sealed),
        retain(request.retainMs),
        flag(request.now),
        ...optional(request.payload),
      ];
      const keys: Step["keys"] = [at.records + name.key, at.waiters(name.key), at.names];
      return overruleResult(
        name,
        await commands.runReplicated({ script: scripts.overrule, keys, args }, call),
      );
    },

    async inspect(name, call) {
      await ready(name.namespace, call);
      const keys: Step["keys"] = [place(name).records + name.key];
      return viewOrNull(name, await commands.run({ script: scripts.inspect, keys, args: [] }, call));
    },

    async list(request, call) {
      const { namespace, limit } = request;
      await ready(namespace, call);
      const indexes = Array.from({ length: partitions }, (_, index) => index);
      const pages = await forked(call, (each) =>
        Promise.all(indexes.map((index) => listPartition(partition(namespace, index), request, each))),
      );
      return pages
        .flat()
        .toSorted((a, b) => compareKeys(a.key, b.key))
        .slice(0, limit);
    },

    /** Redis deletes by the records' TTL. */
    prune: () => Promise.resolve(0),

    async setup(call) {
      servers = undefined;
      await limited(serversChecked(), call, notStarted);
    },

    diagnose: (call) => diagnose(commands, minReplicas, () => layoutFindings(call), call),

    async watch(name, onWake, call) {
      await ready(name.namespace, call);
      return await readerFor(place(name)).watch(name.key, onWake, call);
    },

    async close() {
      await Promise.all([...readers.values()].map((reader) => reader.close()));
      commands.close();
    },
  };

  async function layoutFindings(call: CallOptions): Promise<Finding[]> {
    const findings: Finding[] = [];
    for (const namespace of layouts.keys()) {
      try {
        await checkLayout(commands, scripts, namespace, partitions, call);
        findings.push({
          level: "ok",
          message: `namespace ${namespace} is laid out in ${partitions} partitions`,
        });
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        const remedy = "stop the processes that use the namespace and bring their options in line";
        findings.push({ level: "error", message: error.message, remedy });
      }
    }
    return findings;
  }
}
