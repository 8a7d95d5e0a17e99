import { Command, InvalidArgumentError } from "@commander-js/extra-typings";
import { setTimeout as sleep } from "node:timers/promises";
import { exitCodeOf, exitCodes, UsageError } from "./exit.ts";
import { openStore } from "./store.ts";
import type { Store, StoreOptions } from "./store.ts";
import { noColors } from "./terminal.ts";

// Types and not interfaces, which commander would not take for its options.
type Common = {
  json?: true;
  color: boolean;
};
type ForStore = Common & {
  url?: string;
  namespace?: string;
  config?: string;
};

/** A verb with what all verbs have; the examples stand at the end of its help. */
export function verb(name: string, description: string, examples: readonly string[]): Command<[], Common> {
  return new Command(name)
    .description(description)
    .option("--json", "print JSON, one value a line")
    .option("--no-color", "no colours, as with NO_COLOR=1 and without a terminal")
    .addHelpText("after", `\nExamples:\n${examples.map((line) => `  $ ${line}`).join("\n")}`)
    .hook("preAction", (command) => {
      if (!command.opts().color) noColors();
    });
}

/** A verb that works on a store. */
export function storeVerb(
  name: string,
  description: string,
  examples: readonly string[],
): Command<[], ForStore> {
  return verb(name, description, examples)
    .option(
      "--url <url>",
      "the store, without a password (default: COORD_URL, COORD_URL_FILE, coord.config.*)",
    )
    .option("--namespace <name>", "whose keys (default: COORD_NAMESPACE, the config's, else default)")
    .option("--config <file>", "a config file (default: coord.config.* here or above)");
}

/** What is given back to a store that does not answer lapses by itself: nobody is to wait for that. */
const closeUnavailableMs = 300;

/** Opens the store for as long as `work` takes. */
export async function withStore<T>(options: StoreOptions, work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore(options);
  const close = (): Promise<unknown> => store.coord.close({ graceMs: 0 }).catch(() => undefined);
  let result: T;
  try {
    result = await work(store);
  } catch (error) {
    const unavailable = exitCodeOf(error) === exitCodes.unavailable;
    await (unavailable ? Promise.race([close(), sleep(closeUnavailableMs)]) : close());
    throw error;
  }
  await close();
  return result;
}

/** A fence as it is shown: digits. */
export function fence(text: string): bigint {
  if (/^\d{1,19}$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError("It is a whole number, as `coord inspect` shows it.");
}

export function exitCode(text: string): number {
  const code = Number(text);
  if (/^\d{1,3}$/.test(text) && code <= 255) return code;
  throw new InvalidArgumentError("It is a whole number from 0 to 255.");
}

/** Everything after `--`, which must be there: else an option of the command would be read as one of ours. */
export function commandAfterDashes(verbName: string, command: readonly string[]): [string, ...string[]] {
  if (process.platform === "win32") {
    throw new UsageError(
      `coord ${verbName} needs the process groups and signals of Unix: without them it could not end a command with its lease. Run it in WSL or a container.`,
    );
  }
  const [file, ...args] = command;
  if (file === undefined || !process.argv.includes("--")) {
    throw new UsageError(`Put -- before the command: coord ${verbName} KEY -- command --its-option`);
  }
  return [file, ...args];
}
