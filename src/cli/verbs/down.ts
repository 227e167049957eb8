import { defaultSpecFile } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos down` */
export function downVerb() {
  return verb("down", {
    summary: "remove the machines, their state and their network",
    description:
      "Removes what `up` made for this spec and nothing else; artifacts, lock and vault stay. Machines without kubedos' mark are left alone. While another run changes the cluster it is refused, and that run named.",
    examples: [["down examples/lab.yaml", "end the lab"]],
  })
    .argument("[spec]", "the spec", defaultSpecFile)
    .option("--spec <file>", "the spec, as with the other verbs of a running cluster")
    .action(async (specFile, flags, self) => {
      await runVerb(self, async (context) => {
        const [{ specPaths }, { holdCluster }, { loadSpec }, { substrates }] = await Promise.all([
          import("../../host/paths.ts"),
          import("../../lifecycle/hold.ts"),
          import("../../spec/load.ts"),
          import("../../substrates/registry.ts"),
        ]);
        const file = flags.spec ?? specFile;
        const spec = await loadSpec(file);
        const paths = specPaths(file);
        const before = await substrates[spec.substrate.name].status({ spec, paths });
        await holdCluster(file, "down", async () => {
          for (const substrate of Object.values(substrates)) await substrate.destroy({ spec, paths }, context);
        });
        const removed = before.filter((machine) => machine.state !== "absent").map((machine) => machine.node);
        const text = removed.length === 0 ? "nothing was up" : `removed ${removed.join(", ")}`;
        return { data: { removed }, text };
      });
    });
}
