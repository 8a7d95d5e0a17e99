import type { Node } from "./command-tree.ts";

/** The scripts by which shells complete `coord`. They are text alone: no process is started to complete. */

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const optionValues = (node: Node): readonly (readonly [string, readonly string[]])[] =>
  node.options.filter(({ choices }) => choices.length > 0).map(({ long, choices }) => [long, choices]);
const wordsOf = ({ verbs, choices, options }: Node): string =>
  [...verbs.map(({ name }) => name), ...choices, ...options.map(({ long }) => long)].join(" ");

/** The lines of a `case` that follows the words typed so far down the tree. */
const steps = (tree: readonly Node[]): string[] =>
  tree
    .filter(({ path }) => path !== "")
    .map(({ path }) => {
      const words = path.split(" ");
      const before = words.slice(0, -1).join(" ");
      return `      ${quoted(`${before}>${words.at(-1)}`)}) at=${quoted(path)} ;;`;
    });

function bash(tree: readonly Node[]): string {
  const values = tree.flatMap((node) =>
    optionValues(node).map(
      ([long, choices]) => `    ${quoted(`${node.path}>${long}`)}) words=${quoted(choices.join(" "))} ;;`,
    ),
  );
  return `# coord completion for bash: source <(coord completion bash)
_coord() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} at= words= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ \${COMP_WORDS[i]} == -- ]]; then
      if declare -F _command_offset > /dev/null; then _command_offset $((i + 1))
      elif ((i + 1 == COMP_CWORD)); then mapfile -t COMPREPLY < <(compgen -c -- "$current")
      fi
      return
    fi
    case "$at>\${COMP_WORDS[i]}" in
${steps(tree).join("\n")}
    esac
  done
  case "$at>$previous" in
${values.join("\n")}
    *) case "$at" in
${tree.map((node) => `      ${quoted(node.path)}) words=${quoted(wordsOf(node))} ;;`).join("\n")}
    esac ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o bashdefault -o default -F _coord coord
`;
}

const described = (name: string, description: string): string =>
  quoted(`${name.replaceAll(":", "\\:")}:${description}`);

function zsh(tree: readonly Node[]): string {
  const values = tree.flatMap((node) =>
    optionValues(node).map(
      ([long, choices]) =>
        `    ${quoted(`${node.path}>${long}`)}) compadd -- ${choices.join(" ")}; return ;;`,
    ),
  );
  const candidates = tree.map((node) => {
    const all = [
      ...node.verbs.map(({ name, description }) => described(name, description)),
      ...node.choices.map((choice) => described(choice, "")),
      ...node.options.map(({ long, description }) => described(long, description)),
    ];
    return `    ${quoted(node.path)}) candidates=(${all.join(" ")}) ;;`;
  });
  return `#compdef coord
# coord completion for zsh: source <(coord completion zsh)
_coord() {
  local at= i
  local -a candidates
  for ((i = 2; i < CURRENT; i++)); do
    if [[ $words[i] == -- ]]; then
      shift $i words
      ((CURRENT -= i))
      _normal
      return
    fi
    case "$at>$words[i]" in
${steps(tree).join("\n")}
    esac
  done
  case "$at>$words[CURRENT-1]" in
${values.join("\n")}
  esac
  case "$at" in
${candidates.join("\n")}
  esac
  _describe coord candidates || _files
}
if [[ $funcstack[1] == _coord ]]; then _coord "$@"; else compdef _coord coord; fi
`;
}

function fish(tree: readonly Node[]): string {
  const lines = tree.flatMap((node) => {
    const when = node.path === "" ? "-n __fish_use_subcommand" : `-n ${quoted(`__coord_at ${node.path}`)}`;
    const at = `complete -c coord ${when}`;
    return [
      ...node.verbs.map(({ name, description }) => `${at} -f -a ${name} -d ${quoted(description)}`),
      ...node.choices.map((choice) => `${at} -f -a ${choice}`),
      ...node.options.map(({ long, description, takesValue, choices }) => {
        const value = choices.length > 0 ? ` -x -a ${quoted(choices.join(" "))}` : takesValue ? " -r" : "";
        return `${at} -l ${long.slice(2)}${value} -d ${quoted(description)}`;
      }),
    ];
  });
  return `# coord completion for fish: coord completion fish | source
function __coord_at
    set -l typed (string match -v -- '-*' (commandline -opc))[2..-1]
    contains -- -- (commandline -opc); and return 1
    for i in (seq (count $argv))
        test "$typed[$i]" = "$argv[$i]"; or return 1
    end
end
${lines.join("\n")}
`;
}

type Shell = "bash" | "zsh" | "fish";

export const shells: Readonly<Record<Shell, (tree: readonly Node[]) => string>> = { bash, zsh, fish };
