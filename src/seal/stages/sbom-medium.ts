import { readFile } from "node:fs/promises";
import type { Stage } from "../../assemble/engine.ts";
import type { Lock, LockedPackage } from "../../lock/types.ts";
import { lockedExtras, readDistributions } from "../sbom-inputs.ts";
import type { SbomContent, SbomFile, SbomPackage } from "../sbom.ts";
import { readTree, short, writeBoms, type Described } from "./sbom.ts";

/** What is on a medium with Debian's installer. */
export interface MediumContents {
  suite: string;
  lock: Pick<Lock, "epoch" | "wheels" | "blobs">;
  /** In its repository: packages and parts of the installer. */
  repository: readonly LockedPackage[];
  /** What the installer that it starts is made from: boot loaders, kernel, initrd. */
  installer: readonly LockedPackage[];
  /** Parts in the initrd that are no packages, but stand for others. */
  without: readonly string[];
  /** Files of ours. */
  files: readonly SbomFile[];
}

/**
 * Software bills of materials of a medium with Debian's installer: `cyclonedx` and `spdx`. It ships more than the
 * platform: parts of the installer, boot loaders for both kinds of firmware. Of the installer's parts the licence is not
 * said: they have no copyright file.
 *
 * @param licences whose output `copyright` has the copyright files of packages that the platform's tree does not have
 * @param initrd whose output `parts` lists the installer's parts in it
 */
export function mediumSbomStage(
  tree: Stage,
  python: Stage | undefined,
  licences: Stage,
  initrd: Stage,
  { suite, lock, repository, installer, without, files }: MediumContents,
): Stage {
  const options = {
    epoch: lock.epoch,
    suite,
    repository: repository.map(short),
    installer: installer.map(short),
    without,
    files: files.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    extras: lockedExtras({ wheels: lock.wheels, blobs: lock.blobs?.filter(({ path }) => path !== undefined) }),
  };
  return {
    name: "sbom-netinst",
    version: "2",
    options,
    inputs: {
      tree: { stage: tree, output: "tree" },
      copyright: { stage: licences, output: "copyright" },
      parts: { stage: initrd, output: "parts" },
      ...(python === undefined ? {} : { python: { stage: python, output: "tree" } }),
    },
    outputs: ["cyclonedx", "spdx"],
    async run(work) {
      const { describe, references } = await readTree(work.inputs["tree"]!, work.inputs["copyright"]);
      const parts = initrdParts(await readFile(work.inputs["parts"]!, "utf8"), options.without);
      const locked = new Map(options.repository.map((item) => [`${item.name} ${item.version}`, item]));
      const inInitrd = parts.map((part) => locked.get(`${part.name} ${part.version}`) ?? part);
      const named = new Map([...options.installer, ...inInitrd].map((item) => [`${item.name} ${item.version}`, item]));
      const content: SbomContent = {
        name: "kubedos-netinst",
        epoch: options.epoch,
        suite: options.suite,
        packages: [...options.repository.map(describe("medium")), ...[...named.values()].map(describe("installer"))],
        files: options.files,
        references: references(),
      };
      const extras = await readDistributions(work.inputs["python"], options.extras);
      const onMedium = extras.packages.map(({ path: _inRoot, ...item }): SbomPackage => ({ ...item, layer: "medium" }));
      await writeBoms(content, { ...extras, packages: onMedium }, work.out);
    },
  };
}

/** Lines `name version architecture`. What came inside of Debian's build of the installer has no hash of its own. */
function initrdParts(text: string, without: readonly string[]): Described[] {
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(" ") as [string, string, string])
    .filter(([name]) => !without.includes(name))
    .map(([name, version, architecture]) => ({ name, version, architecture }));
}
