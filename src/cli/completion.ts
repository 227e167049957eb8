import type { CommandUnknownOpts } from "@commander-js/extra-typings";

/** Shells that a completion script can be written for. */
export type Shell = "bash" | "zsh" | "fish";

interface Flag {
  /** As written, e.g. `-q` and `--quiet`. */
  names: string[];
  summary: string;
  takesValue: boolean;
  choices: string[];
}

/** One node of the command tree, as far as completion needs it. */
interface Words {
  /** Words that lead to it: `` for kubedos itself, `store gc` for a verb below a verb. */
  path: string;
  summary: string;
  verbs: string[];
  flags: Flag[];
  /** Choices of the arguments that have some. */
  choices: string[];
}

const helpFlag: Flag = { names: ["-h", "--help"], summary: "show help", takesValue: false, choices: [] };

/** A script that completes verbs, options and their choices, and file names elsewhere, made from the command tree. */
export function completionScript(program: CommandUnknownOpts, shell: Shell): string {
  const tree = collectWords(program, "");
  const globals = [...tree[0]!.flags.filter((flag) => !flag.names.includes("--version")), helpFlag];
  switch (shell) {
    case "bash":
      return bashScript(tree, globals);
    case "zsh":
      return zshScript(tree, globals);
    case "fish":
      return fishScript(tree);
  }
}

function collectWords(command: CommandUnknownOpts, path: string): Words[] {
  const words: Words = {
    path,
    summary: command.summary(),
    verbs: command.commands.map((child) => child.name()),
    flags: command.options.filter((option) => !option.hidden).map(describeFlag),
    choices: command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
  };
  return [words, ...command.commands.flatMap((child) => collectWords(child, `${path} ${child.name()}`.trim()))];
}

function describeFlag(option: CommandUnknownOpts["options"][number]): Flag {
  return {
    names: [option.short, option.long].filter((name) => name !== undefined),
    summary: option.description,
    takesValue: option.required || option.optional,
    choices: [...(option.argChoices ?? [])],
  };
}

/** Branches of a `case` that follow the words already typed down the tree. */
function pathBranches(tree: readonly Words[]): string[] {
  return tree.filter((words) => words.path !== "").map(({ path }) => `"${path}") line="${path}" ;;`);
}

/** Branches of a `case` over `<path>|<option>` for the options that take a value. */
function valueBranches(tree: readonly Words[], complete: (choices: readonly string[]) => string): string[] {
  return tree.flatMap(({ path, flags }) =>
    flags
      .filter((flag) => flag.takesValue)
      .map(
        (flag) => `${flag.names.map((name) => `"${path}|${name}"`).join("|")}) ${complete(flag.choices)}; return ;;`,
      ),
  );
}

function lines(indent: number, texts: readonly string[]): string {
  return texts.map((text) => `${" ".repeat(indent)}${text}\n`).join("");
}

function bashScript(tree: readonly Words[], globals: readonly Flag[]): string {
  const files = 'compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur")';
  const words = (list: string) => `mapfile -t COMPREPLY < <(compgen -W "${list}" -- "$cur")`;
  const values = valueBranches(tree, (choices) => (choices.length === 0 ? files : words(choices.join(" "))));
  const known = tree.map(({ path, flags, verbs, choices }) => {
    const names = [...new Set([...flags, ...globals].flatMap((flag) => flag.names))];
    return `"${path}") flags="${names.join(" ")}"; plain="${[...verbs, ...choices].join(" ")}" ;;`;
  });
  return `# Completion of kubedos for bash.
_kubedos() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} line="" flags="" plain="" i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${line:+$line }\${COMP_WORDS[i]}" in
${lines(6, pathBranches(tree))}    esac
  done
  case "$line|$prev" in
${lines(4, values)}  esac
  case "$line" in
${lines(4, known)}  esac
  if [[ $cur == -* ]]; then
    ${words("$flags")}
  elif [[ -n $plain ]]; then
    ${words("$plain")}
  else
    ${files}
  fi
}
complete -F _kubedos kubedos ./kubedos
`;
}

function zshScript(tree: readonly Words[], globals: readonly Flag[]): string {
  const values = valueBranches(tree, (choices) =>
    choices.length === 0 ? "_files" : `compadd -- ${choices.join(" ")}`,
  );
  const known = tree.map(({ path, flags, verbs, choices }) => {
    const names = [...new Set([...flags, ...globals].flatMap((flag) => flag.names))];
    return `"${path}") flags=(${names.join(" ")}); plain=(${[...verbs, ...choices].join(" ")}) ;;`;
  });
  return `#compdef kubedos
# Completion of kubedos for zsh.
_kubedos() {
  local cur=$words[CURRENT] prev=$words[CURRENT-1] line="" i
  local -a flags plain
  for ((i = 2; i < CURRENT; i++)); do
    case "\${line:+$line }$words[i]" in
${lines(6, pathBranches(tree))}    esac
  done
  case "$line|$prev" in
${lines(4, values)}  esac
  case "$line" in
${lines(4, known)}  esac
  if [[ $cur == -* ]]; then
    compadd -- $flags
  elif (( $#plain )); then
    compadd -- $plain
  else
    _files
  fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _kubedos "$@"
else
  compdef _kubedos kubedos
fi
`;
}

function fishScript(tree: readonly Words[]): string {
  const entries = tree.flatMap((node) => {
    const here = fishCondition(node);
    const verbs = tree
      .filter((child) => child.path !== "" && child.path.split(" ").slice(0, -1).join(" ") === node.path)
      .map((child) => `-f -n '${here}' -a ${child.path.split(" ").at(-1)!} -d ${fishQuote(child.summary)}`);
    const choices = node.choices.length === 0 ? [] : [`-f -n '${here}' -a '${node.choices.join(" ")}'`];
    // Options of kubedos itself go with every verb.
    const where = node.path === "" ? "" : `-n '${seen(node.path)}' `;
    const flags = (node.path === "" ? [...node.flags, helpFlag] : node.flags).map(
      (flag) => `${where}${fishFlag(flag)}`,
    );
    return [...verbs, ...choices, ...flags];
  });
  return `# Completion of kubedos for fish.\n${entries.map((entry) => `complete -c kubedos ${entry}\n`).join("")}`;
}

/** True where the next word belongs to this node and to none below it. */
function fishCondition({ path, verbs }: Words): string {
  if (path === "") return "__fish_use_subcommand";
  return verbs.length === 0 ? seen(path) : `${seen(path)}; and not __fish_seen_subcommand_from ${verbs.join(" ")}`;
}

function seen(path: string): string {
  const words = path.split(" ").map((word) => `__fish_seen_subcommand_from ${word}`);
  return words.join("; and ");
}

function fishFlag({ names, summary, takesValue, choices }: Flag): string {
  const flags = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const value = !takesValue ? "" : choices.length === 0 ? " -r" : ` -x -a '${choices.join(" ")}'`;
  return `${flags.join(" ")}${value} -d ${fishQuote(summary)}`;
}

function fishQuote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
