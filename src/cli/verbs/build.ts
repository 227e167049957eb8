import { exitCodes, KubedosError } from "../../../shared/error.ts";
import type { BuildResult } from "../../lifecycle/build.ts";
import { findingText } from "../findings.ts";
import { count, formatBytes, formatSeconds } from "../format.ts";
import { formatTable } from "../../../shared/table.ts";
import { defaultSpecFile } from "../options.ts";
import type { VerbResult } from "../output.ts";
import { overrideArguments, projectOptions, withProjectOptions, type ProjectFlags } from "../project-options.ts";
import { runVerb, verb, type VerbContext } from "../verb.ts";

/** `kubedos build` */
export function buildVerb() {
  const command = verb("build", {
    summary: "manufacture the artifacts of a spec",
    description:
      "Needs the spec's lock and vault. Stages whose inputs did not change are taken from the cache; the same spec, lock and vault give the same bytes on any host.",
    examples: [
      ["build", "all targets of cluster.yaml, into out/cluster/"],
      ["build lab.yaml --target qcow2", "one target only"],
      ["build --unsigned to-sign", "keys are elsewhere: what is to be signed goes into to-sign (see `kubedos sign`)"],
      ["build --offline", "without the network: a missing input is an error that lists it"],
      ["build --check", "everything twice in different circumstances: the same bytes, or what differs"],
    ],
    exits: [1, 2, 4, 130],
  })
    .argument("[spec]", "the spec", defaultSpecFile)
    .option("--check", "build twice from nothing, in different circumstances, and compare every byte; publish nothing")
    .option("--serial", "one stage after the other, where memory is scarce")
    .option("--unsigned <dir>", "use no signing key: leave what is to be signed in a directory");
  return withProjectOptions(command).action(async (specFile, given, self) => {
    // The options that withProjectOptions adds are not in the command's type.
    const flags = given as typeof given & ProjectFlags;
    await runVerb(self, async (context) => {
      if (flags.check === true) return checkTwice(specFile, flags, context);
      if (flags.unsigned !== undefined) {
        const { data, text } = await buildUnsigned(specFile, flags, flags.unsigned, context);
        return { data, text };
      }
      const [{ openProject }, { build }] = await Promise.all([
        import("../../lifecycle/project.ts"),
        import("../../lifecycle/build.ts"),
      ]);
      const project = await openProject(specFile, projectOptions(flags, false), context);
      return resultOf(await build(project.build, project.paths, project.store, context, { serial: flags.serial }));
    });
  });
}

async function checkTwice(specFile: string, flags: ProjectFlags, context: VerbContext): Promise<VerbResult> {
  const [{ openProject }, { checkBuild }] = await Promise.all([
    import("../../lifecycle/project.ts"),
    import("../../lifecycle/check-build.ts"),
  ]);
  const project = await openProject(specFile, projectOptions(flags, false), context);
  const result = await checkBuild(project, overrideArguments(flags), context);
  const { same, files, sizeBytes, varied, differences, stages, published, kept, seconds } = result;
  const table = formatTable(
    ["circumstance", "first build", "second build"],
    varied.map(({ what, first, second }) => [what, first, second]),
  );
  const { paint } = context;
  const findings = differences.flatMap(({ file, findings: inside }) => [
    paint.red(`${file} differs`),
    ...inside.map((finding) => `    ${findingText(finding)}`),
  ]);
  const causes = stages.length === 0 ? [] : [`stages with other output from the same input: ${stages.join(", ")}`];
  const outcome = same
    ? paint.green(`the same bytes twice: ${count(files, "file")}, ${formatBytes(sizeBytes)}, ${formatSeconds(seconds)}`)
    : paint.red(
        `not reproducible: ${count(differences.length, "file")} of ${files} differ; both outputs are in ${kept}`,
      );
  const beside = {
    none: "",
    same: `${project.paths.out}: the same`,
    different: paint.yellow(`${project.paths.out} is of another build: \`kubedos build\` renews it`),
  }[published];
  return {
    data: { ...result },
    text: [table, "", ...findings, ...causes, outcome, beside].join("\n").trimEnd(),
    status: same ? 0 : exitCodes.failed,
  };
}

/**
 * Builds as far as the signatures in a directory go, and puts what else is to be signed there. The exit status is that
 * of a gate that was not met while something waits.
 */
export async function buildUnsigned(
  specFile: string,
  flags: ProjectFlags,
  directory: string,
  context: VerbContext,
): Promise<VerbResult> {
  const [{ openProject }, { build }, { pendingSignatures }] = await Promise.all([
    import("../../lifecycle/project.ts"),
    import("../../lifecycle/build.ts"),
    import("../../seal/pending.ts"),
  ]);
  const pending = pendingSignatures(directory);
  const project = await openProject(specFile, { ...projectOptions(flags, false), pending }, context);
  try {
    return resultOf(await build(project.build, project.paths, project.store, context));
  } catch (error) {
    if (!(error instanceof KubedosError) || error.code !== "gate" || pending.waiting.length === 0) throw error;
    const lines = pending.waiting.map((name) => `to be signed  ${directory}/${name}`);
    return {
      data: { directory, waiting: pending.waiting },
      text: [...lines, `next: sign them, then \`kubedos sign --import ${directory}\``].join("\n"),
      status: exitCodes.gate,
    };
  }
}

function resultOf({ artifacts, rootHash, manifest, seconds }: BuildResult): VerbResult {
  const lines = artifacts.map((item) => `${item.sha256}  ${item.path}  (${formatBytes(item.sizeBytes)})`);
  return {
    data: { artifacts, rootHash, manifest, seconds },
    text: [...lines, `root hash ${rootHash}`, `built in ${seconds.toFixed(1)} s`].join("\n"),
  };
}
