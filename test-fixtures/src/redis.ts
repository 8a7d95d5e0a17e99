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
export async function probeRedis(port: number, host = "127.0.0.1"): Promise<string | undefined> {
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

async function startNode(
  { flavor = "redis", settings }: RedisOptions,
  isInCluster: boolean,
): Promise<RunningProgram> {
  const folder = await kit(flavor);
  // Else the bus would take a port of the range that systems give to clients.
  const cluster = isInCluster
    ? { "cluster-enabled": "yes", "cluster-port": String(await freePort()), "cluster-node-timeout": "5000" }
    : {};
  // Appended before it is answered, so that kill -9 loses nothing; `everysec` would put that off while it syncs.
  const all = { bind: "127.0.0.1", save: "", appendonly: "yes", appendfsync: "no", ...cluster, ...settings };
  return startProgram({
    name: flavor,
    command: (data, port) => [
      `${folder}/usr/bin/${flavor}-server`,
      "--port",
      String(port),
      "--dir",
      data,
      ...Object.entries(all).flatMap(([name, value]) => [`--${name}`, value]),
    ],
    probe: probeRedis,
  });
}

const urlOf = (node: RunningProgram): string => `redis://127.0.0.1:${node.port}`;

/** Starts Redis or Valkey from the kit. */
export async function startNativeRedis(options: RedisOptions): Promise<Server> {
  if (options.cluster === undefined) {
    const { version, faults, stop, ...node } = await startNode(options, false);
    return {
      url: `redis://127.0.0.1:${node.port}`,
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
      url: nodes.map(urlOf)[0] ?? "",
      nodes: nodes.map((node) => ({ url: urlOf(node), faults: node.faults })),
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
