import { defaultSpecFile } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos ssh` */
export function sshVerb() {
  return verb("ssh", {
    summary: "log in to a node over the control plane",
    description:
      "Goes through the operator's own WireGuard peer; the node's host key is known from the vault and always checked. Exit status is that of the remote command.",
    examples: [
      ["ssh hub", "a shell on the hub"],
      ["ssh --spec examples/lab.yaml core-1 -- systemctl --failed", "one command"],
    ],
  })
    .argument("<node>", "name of the node")
    .argument("[command...]", "command to run instead of a shell")
    .option("--spec <file>", "the spec", defaultSpecFile)
    .action(async (node, command, flags, self) => {
      await runVerb(self, async (context) => {
        const [{ openRunning, requireNode }, { sshCommand }, { runAttached }] = await Promise.all([
          import("../../lifecycle/running.ts"),
          import("../../substrates/operator.ts"),
          import("../../host/attach.ts"),
        ]);
        const cluster = await openRunning(flags.spec);
        requireNode(cluster, node);
        const ssh = await sshCommand(
          cluster.paths,
          cluster.layer,
          node,
          command.length === 0 ? [] : ["--", ...command],
        );
        return { data: { node }, status: await runAttached(ssh.command, ssh.args, context.signal) };
      });
    });
}
