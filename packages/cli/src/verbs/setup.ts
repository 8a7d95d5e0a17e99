import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { Argument } from "@commander-js/extra-typings";
import { ConfigurationError } from "@coord/core";
import { loadAdapter } from "../adapters.ts";
import { UsageError } from "../exit.ts";
import { print, printJson } from "../terminal.ts";
import { storeVerb, verb, withStore } from "../verb.ts";

const stores = ["postgres", "mysql"] as const;

const isSchemaSql = (value: unknown): value is (options: object) => string => typeof value === "function";

async function schemaOf(store: (typeof stores)[number], options: object): Promise<string> {
  const name = `@coord/${store}`;
  const { schemaSql } = await loadAdapter(name, `The schema of ${store}`);
  if (isSchemaSql(schemaSql)) return schemaSql(options).trimEnd();
  throw new ConfigurationError(`${name} has no schemaSql: its version does not fit this command.`);
}

/** What the other stores need, in words. */
const nothingToPrint: Readonly<Record<string, string>> = {
  redis:
    "Redis needs nothing made beforehand: setup checks that the server is one that leases can be kept on.",
  mongodb: "MongoDB needs a collection with its indexes, which setup makes.",
  gcs: "The bucket must be there; setup checks that its objects can be read and written.",
};

export const setupVerb = (): CommandUnknownOpts =>
  storeVerb("setup", "make what the store needs: tables, indexes; may be repeated", [
    "coord setup",
    "coord setup --print       # what it would make, for a review",
  ])
    .option("--print", "only print what it would make")
    .action(async (options) => {
      await withStore(options, async ({ coord, url }) => {
        const { name } = coord.backend.info;
        if (options.print === true) {
          const store = stores.find((each) => name.startsWith(each));
          const words = Object.entries(nothingToPrint).find(([each]) => name.startsWith(each))?.[1];
          return print(
            store === undefined
              ? `-- ${words ?? `The backend ${name} says not what its setup makes.`}`
              : await schemaOf(store, {}),
          );
        }
        await coord.setup();
        if (options.json === true)
          return printJson({ backend: name, url, namespace: coord.namespace, setup: true });
        print(`${name} is set up: ${url}`);
      });
    });

export const schemaVerb = (): CommandUnknownOpts =>
  verb("schema", "print the tables of a store, for your own migrations; asks no server", [
    "coord schema postgres > migrations/0001_coord.sql",
    "coord schema postgres --schema locks --table lease",
    "coord schema mysql --table-prefix coord",
  ])
    .addArgument(new Argument("<store>", "which store").choices(stores))
    .option("--schema <name>", "postgres: the schema (default: coord)")
    .option("--table <name>", "postgres: the table (default: lease)")
    .option("--table-prefix <name>", "mysql: what the tables' names begin with (default: coord)")
    .action(async (store, { schema, table, tablePrefix, json }) => {
      if (store === "postgres" && tablePrefix !== undefined)
        throw new UsageError("--table-prefix is for mysql; for postgres: --schema and --table.");
      if (store === "mysql" && (schema !== undefined || table !== undefined))
        throw new UsageError("--schema and --table are for postgres; for mysql: --table-prefix.");
      const sql = await schemaOf(store, store === "postgres" ? { schema, table } : { tablePrefix });
      if (json === true) printJson({ store, sql });
      else print(sql);
    });
