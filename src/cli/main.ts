import { CommanderError } from "@commander-js/extra-typings";
import { exitCodes, KubedosError } from "../../shared/error.ts";
import { nowMs } from "../host/clock.ts";
import { endOnClosedPipe, standardError, standardOutput } from "../host/terminal.ts";
import { paintWith } from "./format.ts";
import { asKubedosError, errorResult, formatError } from "./output.ts";
import { createProgram } from "./program.ts";

/**
 * Runs one command line (without node and script) and returns the exit status. Verbs show their own errors; what
 * comes out here is a wrong command line or a fault.
 */
async function main(args: readonly string[]): Promise<number> {
  endOnClosedPipe();
  try {
    await createProgram().parseAsync([...args], { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (thrown) {
    if (thrown instanceof CommanderError) return endOfCommandLine(thrown, args);
    const error = asKubedosError(thrown);
    standardError.write(`${formatError(error, paintWith(standardError.traits().color), args.includes("--verbose"))}\n`);
    return exitCodes[error.code];
  }
}

/** Commander has printed help or its error already; `--json` gets it as an object too. */
function endOfCommandLine(thrown: CommanderError, args: readonly string[]): number {
  if (thrown.exitCode === 0) return 0;
  if (args.includes("--json")) {
    const message = thrown.message.replace(/^error: /, "");
    const error = new KubedosError("usage", message, { hint: "`kubedos --help` lists the verbs" });
    standardOutput.write(`${JSON.stringify(errorResult("", new Date(nowMs()).toISOString(), error))}\n`);
  }
  return exitCodes.usage;
}

// Sockets kept alive for reuse would hold the process for seconds after its work is done.
process.exit(await main(process.argv.slice(2)));
