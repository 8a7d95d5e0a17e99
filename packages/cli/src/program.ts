import { readFileSync } from "node:fs";
import { Command, CommanderError } from "@commander-js/extra-typings";
import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { isCoordError } from "@coord/core";
import { ExitError, exitCodeOf } from "./exit.ts";
import { printable, say, toJson } from "./terminal.ts";
import { breakVerb } from "./verbs/break.ts";
import { completionVerb } from "./verbs/completion.ts";
import { demoVerb } from "./verbs/demo.ts";
import { doctorVerb, pruneVerb } from "./verbs/doctor.ts";
import { executionsVerb } from "./verbs/executions.ts";
import { inspectVerb } from "./verbs/inspect.ts";
import { leaderVerb } from "./verbs/leader.ts";
import { lsVerb } from "./verbs/ls.ts";
import { onceVerb } from "./verbs/once.ts";
import { runVerb } from "./verbs/run.ts";
import { schemaVerb, setupVerb } from "./verbs/setup.ts";
import { watchVerb } from "./verbs/watch.ts";

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return typeof manifest === "object" && manifest !== null && "version" in manifest
    ? String(manifest.version)
    : "";
}

/** The whole command, from which the shells' completion is made too. */
export function createProgram(json = false): CommandUnknownOpts {
  const program = new Command("coord")
    .description("Leases that can be trusted, from a terminal: run commands under them, and look after them.")
    .version(version(), "-V, --version", "print the version")
    .addHelpText(
      "after",
      `
The store is found from --url, COORD_URL, COORD_URL_FILE or coord.config.json / .ts, here or in a folder above.

Examples:
  $ export COORD_URL=postgres://app:secret@db/app
  $ coord setup
  $ coord run nightly-report -- ./report.sh
  $ coord ls
  $ coord doctor`,
    );
  program
    .commandsGroup("Run commands:")
    .addCommand(runVerb())
    .addCommand(onceVerb())
    .commandsGroup("Look after leases:")
    .addCommand(lsVerb())
    .addCommand(inspectVerb())
    .addCommand(watchVerb())
    .addCommand(breakVerb())
    .addCommand(leaderVerb())
    .addCommand(executionsVerb())
    .commandsGroup("Look after the store:")
    .addCommand(setupVerb())
    .addCommand(schemaVerb())
    .addCommand(doctorVerb())
    .addCommand(pruneVerb())
    .commandsGroup("More:")
    .addCommand(demoVerb())
    .addCommand(completionVerb(() => program));
  inherit(program, json);
  return program;
}

/** Errors are thrown instead of ending the process, and are JSON where that was asked for. */
function inherit(command: CommandUnknownOpts, json: boolean): void {
  command.exitOverride().showSuggestionAfterError();
  if (json) {
    command.configureOutput({
      outputError: (text) =>
        process.stderr.write(`${toJson({ error: { message: text.trim().replace(/^error: /, "") } })}\n`),
    });
  }
  for (const each of command.commands) inherit(each, json);
}

function report(error: unknown, json: boolean): void {
  if (error instanceof CommanderError || (error instanceof ExitError && error.message === "")) return;
  const setup = isCoordError(error, "COORD_NOT_SET_UP") ? " From here: coord setup" : "";
  const message = `${error instanceof Error ? error.message : String(error)}${setup}`;
  if (json) {
    const code = isCoordError(error) ? error.code : undefined;
    process.stderr.write(`${toJson({ error: { code, message } })}\n`);
  } else say(printable(message));
}

/** Runs what was typed; resolves with the exit code and never rejects. */
export async function main(args: readonly string[]): Promise<number> {
  const own: readonly string[] = args.includes("--") ? args.slice(0, args.indexOf("--")) : args;
  const json = own.includes("--json");
  try {
    await createProgram(json).parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    report(error, json);
    return exitCodeOf(error);
  }
}
