import { KubedosError, type Problem } from "../../shared/error.ts";
import type { PythonRequest } from "../lock/inputs.ts";
import type { FeatureName, GateName, Spec } from "../spec/types.ts";
import { textFile } from "./files.ts";
import { features } from "./registry.ts";
import type { Assets, Feature, FeatureOpening, ImageFile } from "./types.ts";

/** What all features of a spec put into the platform. Every list is sorted and free of duplicates. */
export interface Platform {
  features: FeatureName[];
  packages: string[];
  /** Sorted by prefix, requirements of one prefix put together. */
  wheels: PythonRequest[];
  /** Sorted by path. Includes the files for `sysctls` and `modules`, and the spec's own. */
  files: ImageFile[];
  /** systemd units to enable, and units to mask (a link to /dev/null in /etc/systemd/system). */
  enable: string[];
  mask: string[];
  sysctls: Record<string, string>;
  modules: string[];
  openings: FeatureOpening[];
  gates: GateName[];
}

/** The parts of a platform that need no asset: enough for `lock`, `plan` and the cluster layer. */
export type PlatformOutline = Omit<Platform, "files">;

/**
 * Collects what the spec's features contribute, without reading any file.
 *
 * @throws KubedosError code `spec` when features contradict each other or one that is needed is not there
 */
export function outlinePlatform(spec: Spec): PlatformOutline {
  const chosen = chosenFeatures(spec);
  const problems = missingNeeds(chosen);
  const sysctls = mergeSysctls(chosen, problems);
  const enable = sortedUnique(chosen.flatMap((feature) => [...feature.units.enable]));
  const mask = sortedUnique(chosen.flatMap((feature) => [...feature.units.mask]));
  for (const unit of enable.filter((name) => mask.includes(name))) {
    problems.push({ message: `unit ${unit} is both enabled and masked by features` });
  }
  throwProblems(problems);
  const wheels = mergeWheels([...chosen.flatMap((feature) => feature.wheels?.(spec) ?? []), ...spec.platform.python]);
  return {
    features: chosen.map((feature) => feature.name),
    packages: sortedUnique([
      ...chosen.flatMap((feature) => feature.packages(spec)),
      ...spec.platform.packages,
      ...(wheels.length > 0 ? ["python3"] : []),
    ]),
    wheels,
    enable,
    mask,
    sysctls,
    modules: sortedUnique(chosen.flatMap((feature) => [...feature.modules])),
    openings: sortOpenings(chosen.flatMap((feature) => [...feature.openings, ...(feature.specOpenings?.(spec) ?? [])])),
    gates: sortedUnique(chosen.flatMap((feature) => [...feature.gates])),
  };
}

/**
 * Everything that the spec's features put into the image.
 *
 * @throws KubedosError code `spec` as `outlinePlatform`, and when two sources write the same path
 */
export function collectPlatform(spec: Spec, assets: Assets): Platform {
  const outline = outlinePlatform(spec);
  return { ...outline, files: collectFiles(spec, outline, assets) };
}

function chosenFeatures(spec: Spec): Feature[] {
  return sortedUnique(spec.platform.features).map((name) => features[name]);
}

function mergeWheels(requests: readonly PythonRequest[]): PythonRequest[] {
  return sortedUnique(requests.map(({ prefix }) => prefix)).map((prefix) => {
    const same = requests.filter((request) => request.prefix === prefix);
    const requirements = sortedUnique(same.flatMap((request) => request.requirements));
    const without = sortedUnique(same.flatMap((request) => request.without ?? []));
    return { prefix, requirements, ...(without.length > 0 ? { without } : {}) };
  });
}

function missingNeeds(chosen: readonly Feature[]): Problem[] {
  const names = new Set(chosen.map((feature) => feature.name));
  return chosen.flatMap((feature) =>
    feature.needs
      .filter((need) => !names.has(need))
      .map((need) => ({
        message: `feature ${feature.name} needs feature ${need}`,
        hint: `add \`${need}\` to platform.features`,
      })),
  );
}

function mergeSysctls(chosen: readonly Feature[], problems: Problem[]): Record<string, string> {
  const owners = new Map<string, { feature: string; value: string }>();
  for (const feature of chosen) {
    for (const [key, value] of Object.entries(feature.sysctls)) {
      const before = owners.get(key);
      if (before !== undefined && before.value !== value) {
        problems.push({
          message: `features ${before.feature} and ${feature.name} set sysctl ${key} to ${before.value} and ${value}`,
        });
      }
      owners.set(key, { feature: feature.name, value });
    }
  }
  const sorted = [...owners].toSorted(([a], [b]) => compareText(a, b));
  return Object.fromEntries(sorted.map(([key, { value }]) => [key, value]));
}

function collectFiles(spec: Spec, outline: PlatformOutline, assets: Assets): ImageFile[] {
  const sources: { source: string; files: (ImageFile | { path: string })[] }[] = [
    { source: "sysctls and modules", files: generatedFiles(outline) },
    ...outline.features.map((name) => ({
      source: `feature ${name}`,
      files: (features[name] satisfies Feature).files(spec, assets),
    })),
    { source: "platform.files of the spec", files: spec.platform.files },
    { source: "platform.blobs of the spec", files: spec.platform.blobs.flatMap(blobPath) },
  ];
  const owners = new Map<string, string>();
  const problems: Problem[] = [];
  for (const { source, files } of sources) {
    for (const { path } of files) {
      const before = owners.get(path);
      if (before !== undefined) {
        problems.push({
          message: `${path} is written by ${before} and by ${source}`,
          hint: "each path of the image has one source: leave one of them out",
        });
      }
      owners.set(path, source);
    }
  }
  throwProblems(problems);
  return sources
    .flatMap(({ files }) => files.filter((file) => "content" in file))
    .toSorted((a, b) => compareText(a.path, b.path));
}

function blobPath({ path }: { path?: string }): { path: string }[] {
  return path === undefined ? [] : [{ path }];
}

/** sysctl.d(5) and modules-load.d(5). */
function generatedFiles(outline: PlatformOutline): ImageFile[] {
  const sysctls = Object.entries(outline.sysctls).map(([key, value]) => `${key} = ${value}\n`);
  const modules = outline.modules.map((name) => `${name}\n`);
  return [
    ...(sysctls.length > 0 ? [textFile("/usr/lib/sysctl.d/90-kubedos.conf", sysctls.join(""))] : []),
    ...(modules.length > 0 ? [textFile("/usr/lib/modules-load.d/kubedos.conf", modules.join(""))] : []),
  ];
}

function sortOpenings(openings: readonly FeatureOpening[]): FeatureOpening[] {
  const key = (opening: FeatureOpening) => `${opening.plane}/${opening.protocol}/${opening.port}/${opening.service}`;
  return openings.toSorted((a, b) => compareText(key(a), key(b)));
}

function throwProblems(problems: readonly Problem[]): void {
  const [first] = problems;
  if (first === undefined) return;
  throw new KubedosError("spec", problems.map((problem) => problem.message).join("\n"), { hint: first.hint, problems });
}

function sortedUnique<T extends string>(values: readonly T[]): T[] {
  return [...new Set(values)].toSorted(compareText);
}

/** By code unit: the same order on every host, whatever its locale. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
