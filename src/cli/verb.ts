import { Command, type CommandUnknownOpts } from "@commander-js/extra-typings";
import { exitCodes } from "../../shared/error.ts";
import { nowMs, stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { watchInterrupts } from "../host/interrupt.ts";
import { standardError, standardOutput } from "../host/terminal.ts";
import { type Paint, paintWith } from "./format.ts";
import { type GlobalOptions, verbName } from "./options.ts";
import { asKubedosError, type VerbResult } from "./output.ts";
import { jsonRenderer } from "./renderers/json.ts";
import { plainRenderer } from "./renderers/plain.ts";
import { ttyRenderer } from "./renderers/tty.ts";
import type { Renderer, Verbosity } from "./renderers/types.ts";

/** How a verb describes itself. */
export interface VerbHelp {
  summary: string;
  /** More than the summary says; whole sentences. */
  description?: string;
  /** Command lines without `kubedos`, with what each is for. */
  examples: readonly (readonly [line: string, purpose: string])[];
  /** Exit statuses of this verb beside 0; default: 1, 2 and 130. */
  exits?: readonly (keyof typeof exitMeanings)[];
}

const exitMeanings = {
  0: "done",
  1: "a step failed",
  2: "wrong command line, spec or lock",
  3: "a gate was not met",
  4: "an input is missing and --offline forbids the network",
  130: "interrupted",
} as const;

/**
 * A command of the CLI: one file of verbs/ a verb. Its options are declared on what this returns; its `action` calls
 * `runVerb`, and imports what does the work only there, so that other verbs start fast.
 */
export function verb(name: string, help: VerbHelp) {
  const statuses = [0, ...(help.exits ?? [1, 2, 130])] as const;
  const examples = help.examples.map(([line, purpose]) => `  kubedos ${line}\n      ${purpose}`);
  const exits = statuses.map((status) => `  ${String(status).padEnd(4)} ${exitMeanings[status]}`);
  return new Command(name)
    .summary(help.summary)
    .description(help.description === undefined ? help.summary : `${help.summary}\n\n${help.description}`)
    .addHelpText("after", `\nExamples:\n${examples.join("\n")}\n\nExit status:\n${exits.join("\n")}`);
}

/** What a verb's body works with. */
export interface VerbContext extends RunContext {
  json: boolean;
  verbosity: Verbosity;
  /** Colours for the result's text. */
  paint: Paint;
  /** Standard output is a terminal: a live view or an attached console makes sense. */
  interactive: boolean;
}

/**
 * Runs the body of a verb: shows its events, its result or its error as the global options ask, ends it on Ctrl-C,
 * and sets the exit status of the process (`exitCodes`).
 */
export async function runVerb(
  command: CommandUnknownOpts,
  body: (context: VerbContext) => Promise<VerbResult>,
): Promise<void> {
  const options = command.optsWithGlobals() as unknown as GlobalOptions;
  const name = verbName(command);
  const verbosity: Verbosity = options.quiet ? "quiet" : options.verbose ? "verbose" : "normal";
  const renderer = chooseRenderer(options, verbosity);
  const elapsed = stopwatch();
  const interrupts = watchInterrupts(() =>
    renderer.notice("interrupted: cleaning up (press Ctrl-C again to end at once)"),
  );
  const { emit } = renderer;
  emit({ type: "run.started", verb: name });
  try {
    const result = await body({
      emit,
      signal: interrupts.signal,
      offline: options.offline === true,
      json: options.json === true,
      verbosity,
      paint: paintWith(standardOutput.traits().color && options.color && options.json !== true),
      interactive: standardOutput.traits().tty && options.json !== true,
    });
    emit({ type: "run.done", verb: name, seconds: elapsed() });
    renderer.result(name, result);
    process.exitCode = result.status ?? 0;
  } catch (thrown) {
    const error = asKubedosError(thrown, interrupts.signal.aborted);
    emit({ type: "run.failed", verb: name, message: error.message, hint: error.hint });
    renderer.error(name, error);
    process.exitCode = exitCodes[error.code];
  } finally {
    renderer.close();
    interrupts.release();
  }
}

function chooseRenderer(options: GlobalOptions, verbosity: Verbosity): Renderer {
  if (options.json) return jsonRenderer(standardOutput, nowMs);
  const { tty, color } = standardError.traits();
  const plain = {
    out: standardOutput,
    err: standardError,
    verbosity,
    color: color && options.color,
    elapsedSeconds: stopwatch(),
  };
  return tty ? ttyRenderer(plain) : plainRenderer(plain);
}
