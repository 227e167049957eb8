import type { Finding } from "../finding.ts";
import type { Spec, TargetName } from "../types.ts";
import type { Constraint } from "./types.ts";

/** Targets that are files about another one: that one is beside them. */
const companions: Partial<Record<TargetName, TargetName>> = { firecracker: "raw", packer: "qcow2", terraform: "qcow2" };

/** What a list of targets lacks, as a sentence each and what to do about it; empty: nothing. */
export function targetProblems(
  targets: readonly TargetName[],
  { platform }: Pick<Spec, "platform">,
): { target: TargetName; message: string; hint: string }[] {
  return targets.flatMap((target) => {
    const problems: { target: TargetName; message: string; hint: string }[] = [];
    const companion = companions[target];
    if (companion !== undefined && !targets.includes(companion)) {
      const message = `the target \`${target}\` goes with the image of \`${companion}\`, which is not a target`;
      problems.push({ target, message, hint: `add \`${companion}\` to the targets` });
    }
    if (target === "firecracker" && platform.state === "encrypted") {
      const message = "the target `firecracker` has no TPM, and `platform.state` is `encrypted`";
      problems.push({ target, message, hint: "write `state: plain` or `state: volatile`" });
    }
    if (target === "netinst" && platform.state !== "plain") {
      const message = `the target \`netinst\` keeps its state in its root file system, and \`platform.state\` is \`${platform.state}\``;
      problems.push({ target, message, hint: "write `state: plain`" });
    }
    if (target === "netinst" && platform.suite !== "trixie") {
      const message = `the target \`netinst\` has the installer of trixie, and \`platform.suite\` is \`${platform.suite}\``;
      problems.push({ target, message, hint: "leave the target out, or write `suite: trixie`" });
    }
    return problems;
  });
}

/** Every target has what it needs. */
export const possibleTargets: Constraint = {
  name: "possible-targets",
  reads: ["targets", "platform.state", "platform.suite"],
  check: ({ spec }): Finding[] =>
    targetProblems(spec.targets, spec).map(({ target, message, hint }) => ({
      path: ["targets", spec.targets.indexOf(target)],
      message,
      hint,
    })),
};
