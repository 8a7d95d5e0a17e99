import type { Backend } from "@coord/core";
import type { Account } from "./account.ts";

/** `bigint` does not pass between processes as JSON; this does. */
const pack = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value ?? null, (_, item: unknown) =>
      typeof item === "bigint" ? { bigint: String(item) } : item === Infinity ? { infinity: true } : item,
    ),
  );
const unpack = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value), (_, item: unknown) =>
    typeof item === "object" && item !== null && "bigint" in item ? BigInt(String(item.bigint)) : item,
  );

type Target = Readonly<Record<string, (...args: never[]) => Promise<unknown>>>;

/** Serves the calls of workers on what only this process has. */
export function serve(targets: Target, target: string, args: readonly unknown[]): Promise<unknown> {
  const method = targets[target];
  if (method === undefined) throw new Error(`no such call: ${target}`);
  const unpacked = args.map(unpack) as never[];
  return method(...unpacked).then(pack);
}

export type Ask = (target: string, args: readonly unknown[]) => Promise<unknown>;

const asking =
  (ask: Ask) =>
  <T>(target: string, ...args: unknown[]): Promise<T> =>
    ask(target, args.map(pack)).then(unpack) as Promise<T>;

/** A backend whose store is in another process, reached by `ask`. */
export function remoteBackend(ask: Ask): Backend {
  const call = asking(ask);
  return {
    info: { name: "memory", pollMs: 50 },
    acquire: (request) => call("acquire", request),
    renew: (requests) => call("renew", requests),
    release: (request) => call("release", request),
    inspect: (name) => call("inspect", name),
    overrule: (request) => call("overrule", request),
    list: (request) => call("list", request),
    prune: (request) => call("prune", request),
    setup: async () => {},
    diagnose: () => call("diagnose"),
    close: async () => {},
  };
}

export function remoteAccount(ask: Ask): Account {
  const call = asking(ask);
  return { read: () => call("read"), write: (balance, fence) => call("write", balance, fence) };
}
