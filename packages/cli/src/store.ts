import { readFileSync } from "node:fs";
import { ConfigurationError } from "@coord/core";
import type { BackendFactories, Coordinator } from "@coord/core";
import { adapters, coreBeside, loadAdapter, makerOf } from "./adapters.ts";
import { findConfig, readConfig } from "./config-file.ts";
import type { CoordConfig } from "./config-file.ts";
import { UsageError } from "./exit.ts";
import { hasPassword, redact } from "./url.ts";

/** The options of every verb that needs a store. */
export interface StoreOptions {
  readonly url?: string | undefined;
  readonly namespace?: string | undefined;
  readonly config?: string | undefined;
}

export interface Store {
  readonly coord: Coordinator;
  /** Without secrets, to be shown. */
  readonly url: string;
  /** Where the address was found, to be shown. */
  readonly from: string;
  readonly defaults: NonNullable<CoordConfig["defaults"]>;
}

interface Address {
  readonly url: string;
  readonly from: string;
}

function urlFromFile(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "it can't be read";
    throw new ConfigurationError(`COORD_URL_FILE names ${path}, which could not be read: ${code}.`, {
      cause,
    });
  }
}

/** `--url`, then the environment, then the config file. */
export function addressOf(
  options: StoreOptions,
  config: CoordConfig,
  configPath: string | undefined,
): Address {
  if (options.url !== undefined) {
    if (hasPassword(options.url)) {
      throw new UsageError(
        "--url must not carry a password: everybody on this machine sees it in the list of processes, and it stays in the shell's history. Put the whole url into COORD_URL, or into a file named by COORD_URL_FILE.",
      );
    }
    return { url: options.url, from: "--url" };
  }
  const { COORD_URL: variable = "", COORD_URL_FILE: file = "" } = process.env;
  if (variable !== "" && file !== "")
    throw new ConfigurationError("COORD_URL and COORD_URL_FILE are both set: unset one of them.");
  if (variable !== "") return { url: variable, from: "COORD_URL" };
  if (file !== "") return { url: urlFromFile(file), from: `COORD_URL_FILE (${file})` };
  if (config.url !== undefined && config.url !== "") return { url: config.url, from: configPath ?? "" };
  throw new ConfigurationError(
    "No store is configured. Set COORD_URL (for instance postgres://user:password@host/database), name a file that holds it in COORD_URL_FILE, put it as url into coord.config.json, or pass --url without a password.",
  );
}

const schemeOf = (url: string): string => /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase() ?? "";

/** Opens the store that the options, the environment or a config file name. Nothing is sent yet. */
export async function openStore(options: StoreOptions): Promise<Store> {
  const path = findConfig(options.config);
  const config = path === undefined ? {} : await readConfig(path);
  const { url, from } = addressOf(options, config, path);
  const { backends = {}, url: _, ...rest } = config;
  const scheme = schemeOf(url);
  if (scheme === "memory" && !Object.hasOwn(backends, "memory")) {
    throw new ConfigurationError(
      "memory: lives in one process, so that no other run of this command sees it: it would exclude nobody. Use a store.",
    );
  }
  const namespace = options.namespace ?? process.env["COORD_NAMESPACE"] ?? rest.namespace;
  const adapter = Object.hasOwn(adapters, scheme) ? adapters[scheme] : undefined;
  const own = Object.hasOwn(backends, scheme);
  if (adapter !== undefined && !own) await loadAdapter(adapter.package, `"${scheme}:"`);
  const makers: BackendFactories =
    adapter === undefined || own ? backends : { ...backends, [scheme]: makerOf(adapter, scheme) };
  const { openCoordinator } =
    adapter === undefined || own ? await import("@coord/core") : await coreBeside(adapter.package);
  const coord = await openCoordinator(
    // A command is over too soon to clean up after others; `coord prune` and long-lived processes do.
    { cleanUp: false, ...rest, url, ...(namespace !== undefined && namespace !== "" && { namespace }) },
    { backends: makers },
  );
  return { coord, url: redact(url), from, defaults: rest.defaults ?? {} };
}
