import type { CommandUnknownOpts } from "@commander-js/extra-typings";

/** Shells that a completion script can be written for. */
export type Shell = "bash" | "zsh" | "fish";

/** One node of the command tree, as far as completion needs it. */
interface Words {
  /** Words before it: `` for kubedos itself, `store gc` for a verb below a verb. */
  path: string;
  summary: string;
  verbs: string[];
  options: { flags: string[]; summary: string; takesValue: boolean; choices: string[] }[];
  /** Choices of the first argument that has some. */
  choices: string[];
}

/** A script that completes verbs, options and their choices, and file names elsewhere, made from the command tree. */
export function completionScript(program: CommandUnknownOpts, shell: Shell): string {
  const tree = collectWords(program, "", program.options.map(describeOption));
  switch (shell) {
    case "bash":
      return bashScript(tree);
    case "zsh":
      return `#compdef kubedos\nautoload -U +X bashcompinit && bashcompinit\n${bashScript(tree)}`;
    case "fish":
      return fishScript(tree);
  }
}

function collectWords(command: CommandUnknownOpts, path: string, globals: Words["options"]): Words[] {
  const own = path === "" ? [] : command.options.filter((option) => !option.hidden).map(describeOption);
  const help = { flags: ["-h", "--help"], summary: "show help", takesValue: false, choices: [] };
  const words: Words = {
    path,
    summary: command.summary(),
    verbs: command.commands.map((child) => child.name()),
    options: [...own, ...globals, help],
    choices: command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
  };
  const below = command.commands.flatMap((child) =>
    collectWords(
      child,
      `${path} ${child.name()}`.trim(),
      globals.filter((option) => !option.flags.includes("-V")),
    ),
  );
  return [words, ...below];
}

function describeOption(option: CommandUnknownOpts["options"][number]): Words["options"][number] {
  return {
    flags: [option.short, option.long].filter((flag) => flag !== undefined),
    summary: option.description,
    takesValue: option.required || option.optional,
    choices: [...(option.argChoices ?? [])],
  };
}

function bashScript(tree: readonly Words[]): string {
  const steps = tree
    .filter((words) => words.path !== "")
    .map((words) => `      "${words.path}") path="${words.path}" ;;`);
  const values = tree.flatMap((words) =>
    words.options
      .filter((option) => option.takesValue)
      .flatMap((option) =>
        option.flags.map(
          (flag) => `    "${words.path}|${flag}") mapfile -t COMPREPLY < <(${compgen(option.choices)}); return ;;`,
        ),
      ),
  );
  const words = tree.map((node) => {
    const flags = node.options.flatMap((option) => option.flags).join(" ");
    return `    "${node.path}") flags="${flags}"; plain="${[...node.verbs, ...node.choices].join(" ")}" ;;`;
  });
  return `# Completion of kubedos for bash.
_kubedos() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} path="" flags="" plain="" i next
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    next="\${path:+$path }\${COMP_WORDS[i]}"
    case "$next" in
${steps.join("\n")}
    esac
  done
  case "$path|$prev" in
${values.join("\n")}
  esac
  case "$path" in
${words.join("\n")}
  esac
  if [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
  elif [[ -n $plain ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$plain" -- "$cur")
  else
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  fi
}
complete -F _kubedos kubedos ./kubedos
`.replaceAll(/\n {2}case "\$path\|\$prev" in\n\n {2}esac/g, "");
}

function compgen(choices: readonly string[]): string {
  return choices.length === 0 ? 'compgen -f -- "$cur"' : `compgen -W "${choices.join(" ")}" -- "$cur"`;
}

function fishScript(tree: readonly Words[]): string {
  const lines = tree.flatMap((node) => {
    const parts = node.path === "" ? [] : node.path.split(" ");
    const seen = parts.map((part) => `__fish_seen_subcommand_from ${part}`);
    const here = node.path === "" ? "__fish_use_subcommand" : seen.join("; and ");
    const children = tree.filter((child) => child.path !== "" && parentPath(child.path) === node.path);
    const untilChild =
      node.path === "" || node.verbs.length === 0
        ? here
        : `${here}; and not __fish_seen_subcommand_from ${node.verbs.join(" ")}`;
    const verbs = children.map((child) => {
      const name = child.path.split(" ").at(-1)!;
      return `complete -c kubedos -f -n '${untilChild}' -a ${name} -d ${fishQuote(child.summary)}`;
    });
    const choices =
      node.choices.length === 0 ? [] : [`complete -c kubedos -f -n '${here}' -a '${node.choices.join(" ")}'`];
    const options = node.options.map((option) => fishOption(option, here));
    return [...verbs, ...choices, ...options];
  });
  return `# Completion of kubedos for fish.\n${lines.join("\n")}\n`;
}

function fishOption(option: Words["options"][number], condition: string): string {
  const flags = option.flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const value = option.takesValue ? (option.choices.length === 0 ? " -r" : ` -x -a '${option.choices.join(" ")}'`) : "";
  return `complete -c kubedos -n '${condition}' ${flags.join(" ")}${value} -d ${fishQuote(option.summary)}`;
}

function parentPath(path: string): string {
  return path.split(" ").slice(0, -1).join(" ");
}

function fishQuote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
