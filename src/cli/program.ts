import { Command, type CommandUnknownOpts, Option } from "@commander-js/extra-typings";
import { verbs } from "./verbs/registry.ts";

/** The version of kubedos; the build puts package.json's in. */
declare const KUBEDOS_VERSION: string | undefined;

/** `kubedos` with all its verbs. Errors of the command line are thrown as `CommanderError`, not printed twice. */
export function createProgram(): CommandUnknownOpts {
  const program = new Command("kubedos")
    .description("Turns one cluster spec into sealed, reproducible Debian machines, and runs them.")
    .version(typeof KUBEDOS_VERSION === "string" ? KUBEDOS_VERSION : "unbuilt", "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .helpCommand("help [verb]", "show the help of a verb")
    .addOption(new Option("--json", "one JSON object a line on standard output: events, then a result"))
    .addOption(new Option("--offline", "never use the network; list what is missing"))
    .addOption(new Option("-q, --quiet", "only results and errors").conflicts("verbose"))
    .addOption(new Option("-v, --verbose", "more of what happens"))
    .addOption(new Option("--no-color", "no colours (also: the variable NO_COLOR)"))
    .showSuggestionAfterError(true)
    .showHelpAfterError("hint: `kubedos --help` lists the verbs, `kubedos VERB --help` shows examples")
    .configureHelp({ showGlobalOptions: true, subcommandTerm: (command) => command.name() })
    .exitOverride();
  for (const create of verbs) addVerb(program, create());
  return program;
}

/** Gives a verb and those under it the settings of the program. */
function addVerb(parent: CommandUnknownOpts, command: CommandUnknownOpts): void {
  inherit(parent, command);
  parent.addCommand(command);
}

function inherit(parent: CommandUnknownOpts, command: CommandUnknownOpts): void {
  command.copyInheritedSettings(parent).helpOption("-h, --help", "show help");
  for (const child of command.commands) inherit(command, child);
}
