import { formatBytes } from "../format.ts";
import { defaultSpecFile } from "../options.ts";
import { projectOptions, withProjectOptions } from "../project-options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos build` */
export function buildVerb() {
  const command = verb("build", {
    summary: "manufacture the artifacts of a spec",
    description:
      "Needs the spec's lock and vault. Stages whose inputs did not change are taken from the cache; the same spec, lock and vault give the same bytes on any host.",
    examples: [
      ["build", "all targets of cluster.yaml, into out/cluster/"],
      ["build lab.yaml --target qcow2", "one target only"],
      ["build --offline", "without the network: a missing input is an error that lists it"],
    ],
    exits: [1, 2, 4, 130],
  }).argument("[spec]", "the spec", defaultSpecFile);
  return withProjectOptions(command).action(async (specFile, flags, self) => {
    await runVerb(self, async (context) => {
      const [{ openProject }, { build }] = await Promise.all([
        import("../../lifecycle/project.ts"),
        import("../../lifecycle/build.ts"),
      ]);
      const project = await openProject(specFile, projectOptions(flags, false), context);
      const result = await build(project.build, project.paths, project.store, context);
      const { artifacts, rootHash, manifest, seconds } = result;
      const lines = artifacts.map((item) => `${item.sha256}  ${item.path}  (${formatBytes(item.sizeBytes)})`);
      return {
        data: { artifacts, rootHash, manifest, seconds },
        text: [...lines, `root hash ${rootHash}`, `built in ${seconds.toFixed(1)} s`].join("\n"),
      };
    });
  });
}
