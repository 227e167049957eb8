import { defaultSpecFile } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos console` */
export function consoleVerb() {
  return verb("console", {
    summary: "attach to a node's serial console",
    description: "Press Ctrl-] to leave. With --log, prints what the console has shown so far and ends.",
    examples: [
      ["console hub", "attach"],
      ["console hub --log", "what it said since it was made"],
    ],
  })
    .argument("<node>", "name of the node")
    .option("--spec <file>", "the spec", defaultSpecFile)
    .option("--log", "print the console's log instead")
    .action(async (node, flags, self) => {
      await runVerb(self, async (context) => {
        const [{ openRunning, requireNode }, { attachSocket, runAttached }, { readFile }] = await Promise.all([
          import("../../lifecycle/running.ts"),
          import("../../host/attach.ts"),
          import("node:fs/promises"),
        ]);
        const cluster = await openRunning(flags.spec);
        requireNode(cluster, node);
        if (flags.log === true) {
          const text = await readFile(cluster.substrate.consoleLog(cluster.paths, node), "utf8").catch(() => "");
          return { data: { node, log: text }, text: text.trimEnd() };
        }
        const attachment = await cluster.substrate.consoleAttachment(cluster.paths, node);
        if ("socket" in attachment) await attachSocket(attachment.socket, context.signal);
        else return { data: { node }, status: await runAttached(attachment.command, attachment.args, context.signal) };
        return { data: { node } };
      });
    });
}
