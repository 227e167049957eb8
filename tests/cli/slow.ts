// A verb that takes its time, for interrupt.test.ts: `slow` stops when asked to, `slow --deaf` does not.
import { Command } from "@commander-js/extra-typings";
import { run } from "../../src/host/run.ts";
import { runVerb, verb } from "../../src/cli/verb.ts";

const slow = verb("slow", { summary: "sleep", examples: [["slow", "sleep"]] })
  .option("--deaf", "do not listen to the signal")
  .action(async (options, command) => {
    await runVerb(command, async ({ emit, signal }) => {
      emit({ type: "log", level: "info", message: "started" });
      try {
        await run("sleep", ["987"], options.deaf ? {} : { signal });
      } finally {
        emit({ type: "log", level: "info", message: "cleaned up" });
      }
      return { data: {} };
    });
  });

await new Command("kubedos").option("--json").option("--no-color").addCommand(slow).parseAsync();
