import { startContainer } from "./containers.ts";
import { kit } from "./kit.ts";
import { type RunningProgram, startProgram } from "./native.ts";
import { exchange, freePort } from "./probe.ts";
import { joinCluster, waitForCluster } from "./redis-cluster.ts";
import type { Server } from "./server.ts";

export interface RedisOptions {
  /** @default "redis" */
  readonly flavor?: "redis" | "valkey";
  /** How many nodes share the slots of a cluster; a server on its own if not given. */
  readonly cluster?: 3;
  /** Server settings, such as `{ "maxmemory-policy": "allkeys-lru" }`. @default {} */
  readonly settings?: Readonly<Record<string, string>>;
}

/** Asks for the version; a server that still loads its data, or wants a password, does not count as ready. */
async function probeRedis(port: number, host = "127.0.0.1"): Promise<string | undefined> {
  const request = "PING\r\nINFO server\r\n";
  const reply = await exchange(
    { host, port },
    request,
    (bytes) => bytes.includes("\r\nos:") || bytes[0] === 0x2d,
  );
  const text = reply?.toString() ?? "";
  if (!text.startsWith("+PONG")) return undefined;
  return (/valkey_version:([\d.]+)/.exec(text) ?? /redis_version:([\d.]+)/.exec(text))?.[1];
}

const clusterSettings = { "cluster-enabled": "yes", "cluster-node-timeout": "5000" };

// Appended before it is answered, so that kill -9 loses nothing; `everysec` would put that off while it syncs.
const settingWords = (settings: Readonly<Record<string, string>>): string[] =>
  Object.entries({ save: "", appendonly: "yes", appendfsync: "no", ...settings }).flatMap(([name, value]) => [
    `--${name}`,
    value,
  ]);

async function startNode(
  { flavor = "redis", settings }: RedisOptions,
  isInCluster: boolean,
): Promise<RunningProgram> {
  const folder = await kit(flavor);
  // Else the bus would take a port of the range that systems give to clients.
  const cluster = isInCluster ? { ...clusterSettings, "cluster-port": String(await freePort()) } : {};
  return startProgram({
    name: flavor,
    command: (data, port) => [
      `${folder}/usr/bin/${flavor}-server`,
      "--port",
      String(port),
      "--dir",
      data,
      ...settingWords({ bind: "127.0.0.1", ...cluster, ...settings }),
    ],
    probe: probeRedis,
  });
}

const urlAt = (port: number | undefined): string => `redis://127.0.0.1:${port}`;

/** Starts Redis or Valkey from the kit. */
export async function startNativeRedis(options: RedisOptions): Promise<Server> {
  if (options.cluster === undefined) {
    const { version, faults, stop, ...node } = await startNode(options, false);
    return {
      url: urlAt(node.port),
      provider: "native",
      version,
      faults,
      capabilities: {},
      stop,
    };
  }
  const nodes: RunningProgram[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()));
  };
  try {
    for (let i = 0; i < options.cluster; i++) nodes.push(await startNode(options, true));
    const ports = nodes.map((node) => node.port);
    await joinCluster(ports);
    const everywhere = async (fault: "pause" | "resume" | "kill" | "restart"): Promise<void> => {
      await Promise.all(nodes.map((node) => node.faults[fault]()));
    };
    return {
      url: urlAt(ports[0]),
      nodes: nodes.map((node) => ({ url: urlAt(node.port), faults: node.faults })),
      provider: "native",
      version: nodes[0]?.version ?? "",
      faults: {
        pause: () => everywhere("pause"),
        resume: () => everywhere("resume"),
        kill: () => everywhere("kill"),
        restart: async () => {
          await everywhere("restart");
          await waitForCluster(ports);
        },
      },
      capabilities: { cluster: true },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Starts the official image; a cluster's nodes share one container, where they reach each other as clients do. */
export function startContainerRedis({ flavor = "redis", cluster, settings }: RedisOptions): Promise<Server> {
  const program = `${flavor}-server`;
  const open = { bind: "0.0.0.0", "protected-mode": "no" };
  const loop = (ports: readonly number[]): string =>
    `for p in ${ports.join(" ")}; do mkdir -p /data/$p; ` +
    `${program} --port $p --cluster-port $((p + 10000)) --dir /data/$p "$@" & done; wait`;
  return startContainer({
    name: flavor === "redis" ? "redis:8" : "valkey/valkey:9",
    ports: cluster ?? 1,
    command: (ports) =>
      cluster === undefined
        ? [program, "--port", String(ports[0]), ...settingWords({ ...open, ...settings })]
        : ["sh", "-c", loop(ports), "sh", ...settingWords({ ...open, ...clusterSettings, ...settings })],
    probe: probeRedis,
    ...(cluster !== undefined && {
      prepare: (_container: unknown, ports: readonly number[]) => joinCluster(ports),
      recovered: waitForCluster,
      nodes: (ports: readonly number[]) => ports.map((port) => ({ url: urlAt(port) })),
      capabilities: { cluster: true },
    }),
    url: ([port]) => urlAt(port),
  });
}
