import { ConfigurationError } from "@coord/core";
import { codeOf } from "./errors.ts";

/** The driver, on first use: whoever passes a client in needs no `pg`. */
export async function loadPg(): Promise<typeof import("pg")> {
  try {
    return await import("pg");
  } catch (error) {
    if (codeOf(error) !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new ConfigurationError(
      "a PostgreSQL URL needs the package `pg`, which is not installed; run `npm install pg` or pass `client`",
      { cause: error },
    );
  }
}
