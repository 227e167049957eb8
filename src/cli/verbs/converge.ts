import { Option } from "@commander-js/extra-typings";
import { stageNames } from "../../../shared/convergence.ts";
import type { ConvergenceHub } from "../../converge/hub.ts";
import type { ConvergenceProgress } from "../../converge/progress.ts";
import type { RunContext } from "../../host/context.ts";
import { defaultSpecFile } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos converge` */
export function convergeVerb() {
  return verb("converge", {
    summary: "let the hub converge the running nodes again",
    description:
      "Everything that is as it should be stays as it is: a second run reports no change. A run that goes on is waited for first. Ctrl-C ends the watching; the run goes on, and `status` shows it.",
    examples: [
      ["converge", "all stages on all nodes"],
      ["converge --check", "what would change, with differences, without changing it"],
      ["converge --from workload --limit worker-1", "the user's playbooks, on one node"],
    ],
    exits: [1, 2, 3, 130],
  })
    .argument("[spec]", "the spec", defaultSpecFile)
    .option("--spec <file>", "the spec, as with the other verbs of a running cluster")
    .option("--check", "change nothing, say what would change")
    .addOption(new Option("--from <stage>", "leave out the stages before this one").choices(stageNames))
    .option("--limit <nodes>", "only these nodes, comma-separated")
    .option("--tags <tags>", "only tasks with one of these tags, comma-separated")
    .action(async (specFile, flags, self) => {
      await runVerb(self, async (context) => {
        const [
          { holdCluster },
          { openRunning, requireNode },
          { convergenceHub },
          { convergenceError, convergenceText },
        ] = await Promise.all([
          import("../../lifecycle/hold.ts"),
          import("../../lifecycle/running.ts"),
          import("../../converge/hub.ts"),
          import("../../converge/text.ts"),
        ]);
        const file = flags.spec ?? specFile;
        const cluster = await openRunning(file);
        const limit = flags.limit?.split(",");
        for (const node of limit ?? []) requireNode(cluster, node);
        const hub = convergenceHub(cluster);
        const options = { check: flags.check, from: flags.from, limit, tags: flags.tags?.split(",") };
        const converge = () => hub.converge(options, context);
        const progress = flags.check === true ? await converge() : await holdCluster(file, "converge", converge);
        if (progress.outcome !== "passed") throw convergenceError(progress);
        const differences = flags.check === true ? await checkOutput(hub, progress, context) : [];
        return { data: { ...progress }, text: [...differences, convergenceText(progress)].join("\n") };
      });
    });
}

/** Ansible's own output of the stages in which something would change. */
function checkOutput(hub: ConvergenceHub, progress: ConvergenceProgress, context: RunContext): Promise<string[]> {
  const changing = progress.stages.filter(({ changed }) => changed > 0);
  return Promise.all(changing.map(({ stage }) => hub.log(stage, context)));
}
