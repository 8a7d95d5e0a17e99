import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { createReadStream, createWriteStream, readFileSync, statSync } from "node:fs";
import { finished } from "node:stream/promises";
import { createInterface } from "node:readline";
import { Command, Option } from "@commander-js/extra-typings";
import type { ExecutionInfo, Resolution } from "@coord/core";
import { showDuration } from "../duration.ts";
import { ExitError, exitCodes, UsageError } from "../exit.ts";
import { executionHead, executionLines, executionRow } from "../execution-text.ts";
import { operator } from "../operator.ts";
import { confirm, pairs, print, printJson, progress, say, table } from "../terminal.ts";
import { fence, storeVerb, withStore } from "../verb.ts";

const statuses = ["running", "completed", "failed", "uncertain", "not-done"] as const;
const decisions = ["completed", "not-done", "failed"] as const;

const lsVerb = () =>
  storeVerb("ls", "list executions, of all statuses or of one", [
    "coord executions ls --status uncertain      # what somebody must decide about",
    "coord executions ls --prefix charge: --json",
  ])
    .option("--prefix <text>", "keys that begin with it", "")
    .addOption(new Option("--status <status>", "which ones (default: all)").choices(statuses))
    .action(async ({ prefix, status, json, ...options }) => {
      await withStore(options, async ({ coord }) => {
        const bar = progress("executions read:");
        const found: ExecutionInfo[] = [];
        for await (const execution of coord.executions.list({ prefix, status })) {
          if (json === true) printJson(execution);
          else bar.at(found.push(execution));
        }
        bar.end();
        if (json === true) return;
        if (found.length === 0)
          return say(`no ${status ?? ""} executions in ${coord.namespace}`.replace("  ", " "));
        for (const line of table(executionHead, found.map(executionRow))) print(line);
      });
    });

const unknown = (key: string, namespace: string): ExitError =>
  new ExitError(
    exitCodes.failed,
    `The store knows nothing of an execution "${key}" in the namespace ${namespace}: it never began, or it was so long ago that its record is gone.`,
  );

const showVerb = () =>
  storeVerb("show", "show an execution with all that happened to it", [
    "coord executions show charge-2026-11",
    "coord executions show charge-2026-11 --json | jq .response",
  ])
    .argument("<key>", "of the execution")
    .action(async (key, options) => {
      await withStore(options, async ({ coord }) => {
        const execution = await coord.executions.get(key);
        if (execution === null) throw unknown(key, coord.namespace);
        if (options.json === true) return printJson(execution);
        for (const line of pairs(executionLines(execution))) print(line);
      });
    });

/** The response that callers get from now on: JSON on the command line, from a file, or from standard input. */
function responseOf(given: { response?: string | undefined; responseFile?: string | undefined }): unknown {
  const { response, responseFile } = given;
  if (response !== undefined && responseFile !== undefined)
    throw new UsageError("Give --response or --response-file, not both.");
  const text =
    responseFile === undefined ? response : readFileSync(responseFile === "-" ? 0 : responseFile, "utf8");
  if (text === undefined) {
    throw new UsageError(
      `--as completed needs --response: what callers get from now on, as JSON. For coord once: '{"exitCode":0,"stdout":""}'. For none: null.`,
    );
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new UsageError('The response must be JSON: a text is "in quotes", none is null.');
  }
}

const resolveVerb = () =>
  storeVerb("resolve", "decide what an execution came to, when you have found out", [
    'coord executions resolve charge-7 --fence 1763742001234567 --as completed --response \'{"exitCode":0,"stdout":""}\'',
    "coord executions resolve charge-7 --fence 1763742001234567 --as not-done --note 'not in the ledger'",
    "coord executions resolve charge-7 --fence 1763742001234567 --as failed --note 'card expired' --yes",
  ])
    .argument("<key>", "of the execution")
    .requiredOption(
      "--fence <number>",
      "of the run that you looked at: nothing is changed if it is another by now",
      fence,
    )
    .addOption(new Option("--as <outcome>", "what it came to").choices(decisions).makeOptionMandatory())
    .option("--response <json>", "what callers get from now on, with --as completed")
    .option("--response-file <file>", "the same from a file, or from - (standard input)")
    .option("--by <name>", "who decides, for the record (default: you)")
    .option("--note <text>", "why, for the record; with --as failed what callers are told")
    .option("--yes", "do not ask")
    .addHelpText(
      "after",
      `
  completed   the effect happened; callers get the response
  not-done    it did not happen, and it will not happen any more: the next call runs it
  failed      it failed for good; callers are told the note`,
    )
    .action(async (key, options) => {
      const { as, by = operator(), note } = options;
      const decision = { fence: options.fence, by, note };
      const resolution: Resolution =
        as === "completed" ? { ...decision, as, response: responseOf(options) } : { ...decision, as };
      await withStore(options, async ({ coord }) => {
        const found = await coord.executions.get(key);
        if (found === null) throw unknown(key, coord.namespace);
        if (options.json !== true) for (const line of pairs(executionLines(found))) print(line);
        const running = found.status === "running" ? ` It is still running, by ${found.holder}.` : "";
        await confirm(`Record it as ${as}?${running}`, options.yes);
        await coord.executions.resolve(key, resolution);
        if (options.json === true) return printJson({ key, as, fence: options.fence, by, note });
        print(`"${key}" is ${as} now, by ${by}.`);
      });
    });

const exportVerb = () =>
  storeVerb("export", "write all executions as lines of JSON, to be imported in another store", [
    "coord executions export > executions.jsonl",
    "coord executions export --prefix charge: --out charges.jsonl",
  ])
    .option("--prefix <text>", "keys that begin with it", "")
    .option("--out <file>", "a file instead of standard output")
    .addHelpText(
      "after",
      "\nStop whoever executes first: what still runs is exported as uncertain. The lines hold the responses.",
    )
    .action(async ({ prefix, out, json, ...options }) => {
      await withStore(options, async ({ coord }) => {
        const bar = progress("executions exported:");
        const file = out === undefined ? undefined : createWriteStream(out, { mode: 0o600 });
        const written = file === undefined ? undefined : finished(file);
        // A file that can't be written is told of below, where it is waited for.
        written?.catch(() => undefined);
        let exported = 0;
        for await (const line of coord.executions.export({ prefix })) {
          (file ?? process.stdout).write(`${line}\n`);
          bar.at((exported += 1));
        }
        file?.end();
        await written;
        bar.end();
        if (json === true && out !== undefined) printJson({ exported });
        else say(`${exported} executions exported`);
      });
    });

const importVerb = () =>
  storeVerb("import", "take the lines of an export; keys that the store knows already are left as they are", [
    "coord executions import executions.jsonl",
    "COORD_URL=$OLD coord executions export | COORD_URL=$NEW coord executions import -",
  ])
    .argument("<file>", "lines of coord executions export, or - for standard input")
    .action(async (path, options) => {
      const bar = progress("executions imported:");
      const input = path === "-" ? process.stdin : createReadStream(path);
      const total = path === "-" ? undefined : statSync(path).size;
      async function* lines(): AsyncGenerator<string> {
        let read = 0;
        let count = 0;
        for await (const line of createInterface({ input, crlfDelay: Infinity })) {
          yield line;
          read += Buffer.byteLength(line) + 1;
          count += 1;
          bar.at(total === undefined ? count : read, total);
        }
      }
      await withStore(options, async ({ coord }) => {
        const startedMs = performance.now();
        const { imported, skipped } = await coord.executions.import(lines());
        bar.end();
        if (options.json === true) return printJson({ imported, skipped });
        print(
          `${imported} imported, ${skipped.length} known already, in ${showDuration(performance.now() - startedMs)}.`,
        );
        for (const key of skipped) print(`known already: ${key}`);
      });
    });

export const executionsVerb = (): CommandUnknownOpts =>
  new Command("executions")
    .description("what became of executions under once, and decisions about them")
    .addCommand(lsVerb())
    .addCommand(showVerb())
    .addCommand(resolveVerb())
    .addCommand(exportVerb())
    .addCommand(importVerb())
    .addHelpText(
      "after",
      "\nExamples:\n  $ coord executions ls --status uncertain\n  $ coord executions show charge-7",
    );
