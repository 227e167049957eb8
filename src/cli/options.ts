import { type CommandUnknownOpts, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { targetProblems } from "../spec/constraints/targets.ts";
import { flavourOf } from "../spec/flavours.ts";
import { type Spec, type TargetName, targetNames } from "../spec/types.ts";
import { KubedosError } from "../../shared/error.ts";
import { parseBytes } from "../../shared/size.ts";

/** The options that every verb has. */
export interface GlobalOptions {
  json?: boolean;
  offline?: boolean;
  quiet?: boolean;
  verbose?: boolean;
  color: boolean;
}

/** The spec that is meant when none is named. */
export const defaultSpecFile = "cluster.yaml";

const repositoryModes = ["connected", "darksite", "both"] as const;
const repositoryProfiles = ["base", "base+updates", "full"] as const;

/** `--target raw,qcow2`: other targets than the spec's, for this run. Default: the variable TARGET. */
export function targetOption() {
  return new Option("--target <names>", "targets to make instead of the spec's, comma-separated").env("TARGET");
}

/** `--repo-mode`: another repository mode than the spec's, for this run. Default: the variable REPO_MODE. */
export function repoModeOption() {
  return new Option("--repo-mode <mode>", "repository mode instead of the spec's")
    .choices(repositoryModes)
    .env("REPO_MODE");
}

/** `--repo-profile`: another repository profile than the spec's, for this run. Default: the variable REPO_PROFILE. */
export function repoProfileOption() {
  return new Option("--repo-profile <profile>", "repository profile instead of the spec's")
    .choices(repositoryProfiles)
    .env("REPO_PROFILE");
}

/** `--darksite-src`: a directory with a Debian archive, tried before every mirror. Default: the variable DARKSITE_SRC. */
export function darksiteOption() {
  return new Option("--darksite-src <dir>", "directory with a Debian archive, tried before every mirror").env(
    "DARKSITE_SRC",
  );
}

/** A size as people write it, for an option's value; bytes. */
export function parseSize(text: string): number {
  const bytes = parseBytes(text);
  if (bytes === undefined) throw new InvalidArgumentError("Wanted: a size such as 650MB or 4.7GB.");
  return bytes;
}

/** Values of the four options above, as commander hands them to a verb. */
export interface SpecOverrides {
  target?: string;
  repoMode?: (typeof repositoryModes)[number];
  repoProfile?: (typeof repositoryProfiles)[number];
  darksiteSrc?: string;
}

/**
 * The spec with what the command line (or its environment defaults) says otherwise.
 *
 * @throws KubedosError (usage) for a target that does not exist
 */
export function withOverrides(spec: Spec, overrides: SpecOverrides): Spec {
  const { target, repoMode, repoProfile, darksiteSrc } = overrides;
  const { repository, mirror } = spec.platform;
  const targets = target === undefined ? spec.targets : parseTargets(target);
  if (target !== undefined) assertPossible(targets, spec);
  return {
    ...spec,
    targets,
    platform: {
      ...spec.platform,
      repository: { mode: repoMode ?? repository.mode, profile: repoProfile ?? repository.profile },
      mirror: darksiteSrc === undefined ? mirror : [pathToFileURL(resolve(darksiteSrc)).href, ...mirror],
    },
  };
}

/** What the spec's constraints and its lock say of the targets that are written in it. */
function assertPossible(targets: readonly TargetName[], spec: Spec): void {
  const [problem] = targetProblems(targets, spec);
  if (problem !== undefined) throw new KubedosError("usage", `--target: ${problem.message}`, { hint: problem.hint });
  const target = targets.find((name) => !spec.platform.kernels.includes(flavourOf(name, spec)));
  if (target === undefined) return;
  const kernel = flavourOf(target, spec);
  throw new KubedosError(
    "usage",
    `--target ${target}: it boots the ${kernel} kernel, which is not in this spec's lock`,
    {
      hint: `write \`${target}\` into the spec's \`targets\` too, and run \`kubedos lock\``,
    },
  );
}

function parseTargets(text: string): TargetName[] {
  const names = text.split(",").map((name) => name.trim());
  return names.map((name) => {
    const known = targetNames.find((target) => target === name);
    if (known !== undefined) return known;
    throw new KubedosError("usage", `--target (or the variable TARGET): there is no target "${name}"`, {
      hint: `targets: ${targetNames.join(", ")}`,
    });
  });
}

/** The whole name of a verb on the command line, e.g. `store gc`. */
export function verbName(command: CommandUnknownOpts): string {
  return command.parent === null ? "" : `${verbName(command.parent)} ${command.name()}`.trim();
}
