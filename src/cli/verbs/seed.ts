import { KubedosError } from "../../../shared/error.ts";
import { formatTable } from "../../../shared/table.ts";
import { defaultSpecFile } from "../options.ts";
import { projectOptions, withProjectOptions, type ProjectFlags } from "../project-options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos seed` */
export function seedVerb() {
  const command = verb("seed", {
    summary: "write nodes' seeds as files, for machines that kubedos does not start itself",
    description:
      "A seed is a node's secrets: WireGuard keys, host key, certificates. The file is the content of a small disk that the node's machine has at its first boots (Firecracker, Terraform, hypervisors). Files are readable for their owner only; keep them as the vault itself.",
    examples: [
      ["seed lab.yaml hub worker-1 --out seeds", "two nodes: seeds/hub.seed and seeds/worker-1.seed"],
      ["seed lab.yaml --all --out seeds", "all nodes of the spec"],
    ],
    exits: [1, 2],
  })
    .argument("[spec]", "the spec", defaultSpecFile)
    .argument("[nodes...]", "names of nodes")
    .option("--all", "all nodes of the spec")
    .requiredOption("--out <dir>", "directory for the files; made where there is none");
  return withProjectOptions(command).action(async (specFile, nodes, given, self) => {
    // The options that withProjectOptions adds are not in the command's type.
    const flags = given as typeof given & ProjectFlags;
    await runVerb(self, async (context) => {
      const [{ openProject }, { requireNode }, { writeSeeds }] = await Promise.all([
        import("../../lifecycle/project.ts"),
        import("../../lifecycle/running.ts"),
        import("../../lifecycle/seed-files.ts"),
      ]);
      const project = await openProject(specFile, projectOptions(flags, false), context);
      const all = project.spec.nodes.map(({ name }) => name);
      if (nodes.length === 0 && flags.all !== true) {
        throw new KubedosError("usage", "which nodes?", {
          hint: `name some of ${all.slice(0, 10).join(", ")}, or write --all`,
        });
      }
      for (const name of nodes) requireNode(project, name);
      const seeds = await writeSeeds(project, flags.all === true ? all : nodes, flags.out);
      const rows = seeds.map(({ node, path, generation }) => [node, String(generation), path]);
      return { data: { seeds }, text: formatTable(["NODE", "GENERATION", "SEED"], rows) };
    });
  });
}
