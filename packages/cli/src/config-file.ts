import { existsSync, readFileSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigurationError } from "@coord/core";
import type { BackendFactories, CoordinatorConfig } from "@coord/core";

/** What `coord.config.json` or `coord.config.ts` may say. */
export interface CoordConfig extends CoordinatorConfig {
  /** Makers by scheme, for adapters of your own; only where the file is code. */
  backends?: BackendFactories | undefined;
}

/** The config as it is, with its type checked. */
export const defineConfig = (config: CoordConfig): CoordConfig => config;

const names = ["ts", "mts", "js", "mjs", "json"].map((extension) => `coord.config.${extension}`);

/** The file that `--config` names, or the first one here or in a folder above. */
export function findConfig(given: string | undefined): string | undefined {
  if (given !== undefined) {
    const path = resolve(given);
    if (existsSync(path)) return path;
    throw new ConfigurationError(`--config names a file that is not there: ${path}.`);
  }
  for (let folder = process.cwd(); ; folder = dirname(folder)) {
    const found = names.map((name) => join(folder, name)).find((path) => existsSync(path));
    if (found !== undefined || folder === dirname(folder)) return found;
  }
}

const isConfig = (value: unknown): value is CoordConfig =>
  typeof value === "object" && value !== null && !Array.isArray(value);

async function read(path: string): Promise<unknown> {
  switch (extname(path)) {
    case ".json":
      return JSON.parse(readFileSync(path, "utf8"));
    case ".ts":
    case ".mts": {
      // Node 20 runs no TypeScript by itself.
      const { createJiti } = await import("jiti");
      return createJiti(import.meta.url, { fsCache: false }).import(path, { default: true });
    }
    default: {
      const module: { default?: unknown } = await import(pathToFileURL(path).href);
      return module.default;
    }
  }
}

export async function readConfig(path: string): Promise<CoordConfig> {
  let config: unknown;
  try {
    config = await read(path);
  } catch (cause) {
    // The parser's message may quote the text around the error, and with it a password.
    const why =
      extname(path) === ".json" ? "it is no JSON" : cause instanceof Error ? cause.message : "it threw";
    throw new ConfigurationError(`${path} could not be read: ${why}.`, { cause });
  }
  if (isConfig(config)) return config;
  throw new ConfigurationError(
    `${path} must hold an object such as { "url": "postgres://user@host/database", "namespace": "billing" }.`,
  );
}
