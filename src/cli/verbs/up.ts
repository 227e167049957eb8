import { formatBytes } from "../format.ts";
import { defaultSpecFile } from "../options.ts";
import { projectOptions, withProjectOptions } from "../project-options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos up` */
export function upVerb() {
  const command = verb("up", {
    summary: "from a spec to a running, proven cluster",
    description:
      "Checks the spec, makes vault and lock where there are none, builds, starts the machines, waits for their planes, runs the gates and writes a report. Run again it goes on where it stopped.",
    examples: [
      ["up examples/lab.yaml", "three sealed machines under QEMU"],
      ["up lab-nspawn.yaml", "the same platform in containers, in seconds (needs root)"],
    ],
    exits: [1, 2, 3, 4, 130],
  }).argument("[spec]", "the spec", defaultSpecFile);
  return withProjectOptions(command).action(async (specFile, flags, self) => {
    await runVerb(self, async (context) => {
      const [{ holdCluster }, { openProject }, { upProject }] = await Promise.all([
        import("../../lifecycle/hold.ts"),
        import("../../lifecycle/project.ts"),
        import("../../lifecycle/up-project.ts"),
      ]);
      const { report, reportFile } = await holdCluster(specFile, "up", async () =>
        upProject(await openProject(specFile, projectOptions(flags, true), context), context),
      );
      const name = specFile === defaultSpecFile ? "" : ` --spec ${specFile}`;
      const stages = report.stages.map(
        (stage) => `  ${stage.stage.padEnd(10)} ${stage.cached ? "cached" : `${stage.seconds.toFixed(1)} s`}`,
      );
      const { build, boot, gates, total } = report.timings;
      return {
        data: { ...report, reportFile },
        text: [
          "stages:",
          ...stages,
          "artifacts:",
          ...report.artifacts.map((item) => `  ${item.sha256}  ${item.path}  (${formatBytes(item.sizeBytes)})`),
          `${report.nodes.length} nodes ready${report.sealed ? "" : " (unsealed)"}: build ${build.toFixed(1)} s, power-on to planes ${boot.toFixed(1)} s, gates ${gates.toFixed(1)} s, total ${total.toFixed(1)} s`,
          ...report.gates.map((gate) => `  gate ${gate.gate}: passed, ${gate.checks.length} checks`),
          `report: ${reportFile}`,
          "next:",
          `  kubedos status${name}`,
          `  kubedos ssh${name} ${report.nodes[0]?.node ?? "NODE"}`,
          `  kubedos console${name} ${report.nodes[0]?.node ?? "NODE"}`,
          `  kubedos down${name}`,
        ].join("\n"),
      };
    });
  });
}
