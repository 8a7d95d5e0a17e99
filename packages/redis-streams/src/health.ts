import { type CallOptions, ConfigurationError, type Diagnosis, type Finding } from "@coord/core";
import type { Commands } from "./commands.ts";
import { layoutKey } from "./keys.ts";
import { list, text } from "./replies.ts";
import type { Scripts } from "./scripts.ts";

/** What one server says of itself with INFO. */
type Info = ReadonlyMap<string, string>;

const layoutVersion = "1";
const oldestMajor = 7;

function parseInfo(reply: unknown): Info {
  const lines = text(reply).split("\r\n");
  return new Map(
    lines.map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1)];
    }),
  );
}

const versionOf = (info: Info): string => {
  const valkey = info.get("valkey_version");
  return valkey === undefined ? `Redis ${info.get("redis_version") ?? "?"}` : `Valkey ${valkey}`;
};

function versionFinding(info: Info): Finding {
  const message = `the server is ${versionOf(info)}`;
  if (Number.parseInt(info.get("redis_version") ?? "", 10) >= oldestMajor) return { level: "ok", message };
  return { level: "error", message, remedy: "use Redis 7.0 or later, or Valkey 7.2 or later" };
}

function evictionFinding(info: Info): Finding {
  const policy = info.get("maxmemory_policy");
  if (policy === "noeviction") return { level: "ok", message: "maxmemory-policy is noeviction" };
  if (policy === undefined) {
    const message = "the server does not tell its maxmemory-policy";
    return { level: "warning", message, remedy: "make sure that it is noeviction" };
  }
  return {
    level: "error",
    message: `maxmemory-policy is ${policy}: when memory runs short, Redis would drop leases that are held`,
    remedy: "run CONFIG SET maxmemory-policy noeviction and put it into the server's configuration",
  };
}

function roleFinding(info: Info): Finding {
  if (info.get("role") === "master") return { level: "ok", message: "the server is a master" };
  return {
    level: "error",
    message: `the server's role is ${info.get("role") ?? "?"}, and a replica takes no writes`,
    remedy: "connect to the master, or pass a client that finds it through Sentinel",
  };
}

function durabilityFinding(info: Info): Finding {
  if (info.get("aof_enabled") === "1") return { level: "ok", message: "the append-only file is on" };
  return {
    level: "warning",
    message: "the append-only file is off: a server that restarts has forgotten leases that are held",
    remedy: "run CONFIG SET appendonly yes, with appendfsync always if a power cut must not forget either",
  };
}

function replicaFinding(info: Info, minReplicas: number): Finding {
  const replicas = Number(info.get("connected_slaves") ?? 0);
  if (replicas >= minReplicas) return { level: "ok", message: `${replicas} replicas are connected` };
  return {
    level: "error",
    message: `${replicas} replicas are connected, minReplicas is ${minReplicas}`,
    remedy: "connect more replicas or lower minReplicas: until then no step is confirmed",
  };
}

/** Throws what a server answers that makes it unfit; a node that can't be reached is the operation's to find out. */
export async function checkServers(commands: Commands, options: CallOptions): Promise<void> {
  for (const reply of await commands.askMasters(["info"], options)) {
    if (reply instanceof ConfigurationError) throw reply;
    if (reply instanceof Error) continue;
    const info = parseInfo(reply);
    for (const { level, message, remedy } of [versionFinding(info), evictionFinding(info)]) {
      if (level === "error") throw new ConfigurationError(`${message}; ${remedy ?? ""}`);
    }
  }
}

/** Refuses a namespace that others use with another layout: both would grant the same name. */
export async function checkLayout(
  commands: Commands,
  scripts: Scripts,
  namespace: string,
  partitions: number,
  options: CallOptions,
): Promise<void> {
  const reply = await commands.run(
    { script: scripts.layout, keys: [layoutKey(namespace)], args: [layoutVersion, partitions] },
    options,
  );
  const [layout, stored] = list(reply).map(text);
  if (layout !== layoutVersion) {
    throw new ConfigurationError(
      `the records of namespace ${namespace} have layout ${layout ?? "?"}, this version of @coord/redis-streams knows ${layoutVersion}; use the version that wrote them`,
    );
  }
  if (stored !== String(partitions)) {
    throw new ConfigurationError(
      `the records of namespace ${namespace} are laid out in ${stored ?? "?"} partitions, the option asks for ${partitions}: ` +
        `one name could be granted twice; set partitions: ${stored ?? "?"}, or stop everybody and delete ${layoutKey(namespace)} together with the records`,
    );
  }
}

function storeMs(reply: unknown): number {
  const [seconds, microseconds] = list(reply).map((part) => Number(text(part)));
  return (seconds ?? Number.NaN) * 1000 + (microseconds ?? Number.NaN) / 1000;
}

export async function diagnose(
  commands: Commands,
  minReplicas: number,
  layoutProblems: () => Promise<Finding[]>,
  options: CallOptions,
): Promise<Diagnosis> {
  const findings: Finding[] = [];
  for (const reply of await commands.askMasters(["info"], options)) {
    if (reply instanceof ConfigurationError) throw reply;
    if (reply instanceof Error) {
      const remedy = "bring the node back, or let the cluster fail over";
      findings.push({ level: "error", message: `a master can't be asked: ${reply.message}`, remedy });
      continue;
    }
    const info = parseInfo(reply);
    findings.push(versionFinding(info), evictionFinding(info), roleFinding(info), durabilityFinding(info));
    findings.push(replicaFinding(info, minReplicas));
  }
  findings.push(...(await layoutProblems()));
  const beforeMs = performance.timeOrigin + performance.now();
  const time = await commands.send(["time"], options);
  const afterMs = performance.timeOrigin + performance.now();
  return { findings, clock: { storeMs: storeMs(time), beforeMs, afterMs } };
}
