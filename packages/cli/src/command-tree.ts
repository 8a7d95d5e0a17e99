import type { CommandUnknownOpts } from "@commander-js/extra-typings";

/** What a shell can complete, taken from the program itself. */
export interface Node {
  /** Its words after `coord`, for instance `executions ls`; empty for the program. */
  readonly path: string;
  readonly description: string;
  readonly verbs: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly OptionOf[];
  /** What its first argument may be, where that is a choice. */
  readonly choices: readonly string[];
}

interface OptionOf {
  readonly long: string;
  readonly description: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

/** The node and all below it. */
export function treeOf(command: CommandUnknownOpts, path = ""): readonly Node[] {
  const verbs = command.commands.map((each) => ({ name: each.name(), description: each.description() }));
  const options = command.options
    .filter((option) => !option.hidden)
    .map(({ long, description, required, argChoices }) => ({
      long: long ?? "",
      description,
      takesValue: required,
      choices: argChoices ?? [],
    }));
  const help = { long: "--help", description: "show help", takesValue: false, choices: [] };
  const choices = command.registeredArguments[0]?.argChoices ?? [];
  const node = { path, description: command.description(), verbs, options: [...options, help], choices };
  return [node, ...command.commands.flatMap((each) => treeOf(each, `${path} ${each.name()}`.trim()))];
}
