import type { Paint } from "../format.ts";
import { defaultSpecFile } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

const watchMs = 2_000;

/** `kubedos status` */
export function statusVerb() {
  return verb("status", {
    summary: "show the nodes: phase, planes, uptime, artifact",
    examples: [
      ["status", "one table"],
      ["status --watch", "the table, anew every two seconds"],
      ["status --json", "the same as data"],
    ],
  })
    .argument("[spec]", "the spec", defaultSpecFile)
    .option("--spec <file>", "the spec, as with the other verbs of a running cluster")
    .option("--watch", "show again every two seconds until interrupted")
    .action(async (specFile, flags, self) => {
      await runVerb(self, async (context) => {
        const [{ openRunning }, { readStatus, statusText }, { delay }, { standardOutput }] = await Promise.all([
          import("../../lifecycle/running.ts"),
          import("../../lifecycle/status.ts"),
          import("../../host/clock.ts"),
          import("../../host/terminal.ts"),
        ]);
        const cluster = await openRunning(flags.spec ?? specFile);
        const paint: Paint | undefined = context.paint;
        let status = await readStatus(cluster, context);
        while (flags.watch === true && context.interactive) {
          standardOutput.write(`\u001b[2J\u001b[H${statusText(status, paint)}\n`);
          await delay(watchMs, context.signal);
          status = await readStatus(cluster, context);
        }
        return { data: { ...status }, text: statusText(status, paint) };
      });
    });
}
