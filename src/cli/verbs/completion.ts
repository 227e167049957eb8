import { Argument } from "@commander-js/extra-typings";
import { runVerb, verb } from "../verb.ts";

/** `kubedos completion bash|zsh|fish` */
export function completionVerb() {
  return verb("completion", {
    summary: "print a completion script for your shell",
    examples: [
      ["completion bash > ~/.local/share/bash-completion/completions/kubedos", "complete verbs and options in bash"],
      ["completion zsh > ~/.zfunc/_kubedos", "in zsh, with ~/.zfunc in $fpath"],
      ["completion fish > ~/.config/fish/completions/kubedos.fish", "in fish"],
    ],
    exits: [2],
  })
    .addArgument(new Argument("<shell>", "shell to write for").choices(["bash", "zsh", "fish"] as const))
    .action(async (shell, _options, command) => {
      await runVerb(command, async () => {
        const { completionScript } = await import("../completion.ts");
        const script = completionScript(command.parent!, shell);
        return { data: { shell, script }, text: script.trimEnd() };
      });
    });
}
