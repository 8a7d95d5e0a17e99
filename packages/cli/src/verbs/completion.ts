import { Argument } from "@commander-js/extra-typings";
import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { treeOf } from "../command-tree.ts";
import { shells } from "../completion.ts";
import { verb } from "../verb.ts";

export const completionVerb = (program: () => CommandUnknownOpts): CommandUnknownOpts =>
  verb("completion", "print the completion script of a shell", [
    "source <(coord completion bash)           # in ~/.bashrc",
    "source <(coord completion zsh)            # in ~/.zshrc, after compinit",
    "coord completion fish > ~/.config/fish/completions/coord.fish",
  ])
    .addArgument(new Argument("<shell>", "which shell").choices(["bash", "zsh", "fish"] as const))
    .action((shell) => void process.stdout.write(shells[shell](treeOf(program()))));
