import { stageNames } from "../../../shared/convergence.ts";
import { KubedosError } from "../../../shared/error.ts";
import { defaultSpecFile } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos logs` */
export function logsVerb() {
  return verb("logs", {
    summary: "show what the last convergence ran in a stage or on a node",
    description: "For a stage, Ansible's own output; for a node, one line a task over all stages, with what failed.",
    examples: [
      ["logs baseline", "Ansible's output of the stage baseline"],
      ["logs worker-1", "every task on worker-1 with its outcome"],
    ],
  })
    .argument("<name>", "a stage or a node")
    .option("--spec <file>", "the spec", defaultSpecFile)
    .action(async (name, flags, self) => {
      await runVerb(self, async (context) => {
        const [{ openRunning }, { convergenceHub }, { nearest }] = await Promise.all([
          import("../../lifecycle/running.ts"),
          import("../../converge/hub.ts"),
          import("../../spec/suggest.ts"),
        ]);
        const cluster = await openRunning(flags.spec);
        const names = [...stageNames, ...cluster.spec.nodes.map((node) => node.name)];
        if (!names.includes(name)) {
          const near = nearest(name, names);
          throw new KubedosError("usage", `there is no stage and no node "${name}"`, {
            hint: near === undefined ? `stages: ${stageNames.join(", ")}` : `did you mean ${near}?`,
          });
        }
        const text = await convergenceHub(cluster).log(name, context);
        return { data: { name, text }, text: text.trimEnd() };
      });
    });
}
