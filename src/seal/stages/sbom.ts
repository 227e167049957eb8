import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../../shared/error.ts";
import type { Stage } from "../../assemble/engine.ts";
import type { Lock, LockedPackage } from "../../lock/types.ts";
import { installedPackages } from "../dpkg.ts";
import { licenceExpression, type LicenceReference } from "../sbom-licences.ts";
import { packageUrl } from "../provenance.ts";
import { lockedExtras, readDistributions } from "../sbom-inputs.ts";
import { readTarMembers } from "../sbom-tar.ts";
import { bootImagePackages } from "../../assemble/foundry-packages.ts";
import { cycloneDx, spdx, type SbomContent, type SbomFile, type SbomPackage } from "../sbom.ts";

const statusFile = "var/lib/dpkg/status";
const copyrightFile = /^usr\/share\/doc\/([^/]+)\/copyright$/;
const docDirectory = /^usr\/share\/doc\/([^/]+)$/;

/**
 * Software bills of materials of the platform: `cyclonedx` and `spdx`. Versions and hashes come from the lock, which
 * must be what dpkg says inside the tree; licences come from the tree's own copyright files.
 */
export function sbomStage(
  tree: Stage,
  python: Stage | undefined,
  lock: Pick<Lock, "epoch" | "platform" | "foundry" | "shim" | "wheels" | "blobs" | "images">,
  suite: string,
  files: readonly { path: string; content: string | Uint8Array }[],
  suffix = "",
): Stage {
  const boot = [
    ...lock.foundry.filter(({ name }) => bootImagePackages.includes(name)),
    ...lock.platform.filter(({ name }) => /^linux-image-\d/.test(name)),
    ...(lock.shim ?? []),
  ];
  const options = {
    epoch: lock.epoch,
    suite,
    root: lock.platform.map(short),
    boot: boot.map(short),
    files: files.map((file) => ownFile(file)).toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    extras: lockedExtras(lock),
  };
  return {
    name: `sbom${suffix}`,
    version: "4",
    options,
    inputs: {
      tree: { stage: tree, output: "tree" },
      ...(python === undefined ? {} : { python: { stage: python, output: "tree" } }),
    },
    outputs: ["cyclonedx", "spdx"],
    async run(work) {
      const content = await readContent(work.inputs["tree"]!, options);
      await writeBoms(content, await readDistributions(work.inputs["python"], options.extras), work.out);
    },
  };
}

/** Writes both bills of materials of some content and the Python distributions and other inputs beside it. */
export async function writeBoms(
  content: SbomContent,
  { packages, references }: Pick<SbomContent, "references"> & { packages: readonly SbomPackage[] },
  out: string,
): Promise<void> {
  const all = new Map([...content.references, ...references].map((one) => [one.id, one]));
  const whole = {
    ...content,
    packages: [...content.packages, ...packages],
    references: [...all.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  };
  await writeFile(join(out, "cyclonedx"), cycloneDx(whole));
  await writeFile(join(out, "spdx"), spdx(whole));
}

/** What identifies a locked package. */
export function short({ name, version, architecture, sha256 }: LockedPackage): Short {
  return { name, version, architecture, sha256 };
}

/** A file of ours with its hashes. */
export function ownFile(
  { path, content }: { path: string; content: string | Uint8Array },
  layer?: SbomFile["layer"],
): SbomFile {
  const hash = (name: string) => createHash(name).update(content).digest("hex");
  return { path, ...(layer === undefined ? {} : { layer }), sha256: hash("sha256"), sha1: hash("sha1") };
}

type Short = Pick<LockedPackage, "name" | "version" | "architecture" | "sha256">;
/** A package as a bill of materials names it. */
export type Described = Omit<Short, "sha256"> & Partial<Pick<Short, "sha256">>;

async function readContent(
  tree: string,
  options: { epoch: number; suite: string; root: readonly Short[]; boot: readonly Short[]; files: readonly SbomFile[] },
): Promise<SbomContent> {
  const { installed, describe, references } = await readTree(tree);
  assertSame(installed, options.root);
  return {
    epoch: options.epoch,
    suite: options.suite,
    packages: [...options.root.map(describe("root")), ...options.boot.map(describe("boot image"))],
    files: options.files,
    references: references(),
  };
}

/**
 * What the platform's tree says of packages: what is installed, and a locked package with maintainer and licence where
 * the tree knows them. `references`: the licences of all that were described.
 *
 * @param copyright tar with copyright files of packages that the tree does not have
 */
export async function readTree(
  tree: string,
  copyright?: string,
): Promise<{
  installed: ReturnType<typeof installedPackages>;
  describe(layer: SbomPackage["layer"]): (item: Described) => SbomPackage;
  references(): LicenceReference[];
}> {
  const isWanted = (path: string) => path === statusFile || copyrightFile.test(path) || docDirectory.test(path);
  const beside = copyright === undefined ? [] : await readTarMembers(copyright, isWanted);
  const members = [...beside, ...(await readTarMembers(tree, isWanted))];
  // 1. dpkg's own view of what is installed.
  const status = members.find(({ path }) => path === statusFile)?.content.toString() ?? "";
  const installed = installedPackages(status);
  // 2. Licences; a package's documentation may be a link to another's.
  const texts = new Map<string, string>();
  const links = new Map<string, string>();
  for (const { path, link, content } of members) {
    const [, owner] = copyrightFile.exec(path) ?? docDirectory.exec(path) ?? [];
    if (owner === undefined) continue;
    if (link === undefined) {
      if (copyrightFile.test(path)) texts.set(owner, content.toString());
    } else
      links.set(
        owner,
        link
          .replace(/\/copyright$/, "")
          .split("/")
          .pop() ?? "",
      );
  }
  const references = new Map<string, LicenceReference>();
  const describe =
    (layer: SbomPackage["layer"]) =>
    (item: Described): SbomPackage => {
      const text = texts.get(item.name) ?? texts.get(links.get(item.name) ?? "");
      const licence = text === undefined ? undefined : licenceExpression(text);
      for (const one of licence?.references ?? []) references.set(one.id, one);
      const maintainer = installed.get(item.name)?.maintainer;
      const { name, version, sha256 } = item;
      const purl = packageUrl(item);
      return { kind: "deb", name, version, sha256, purl, layer, maintainer, licence: licence?.expression };
    };
  return { installed, describe, references: () => [...references.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1)) };
}

function assertSame(installed: ReturnType<typeof installedPackages>, locked: readonly Short[]): void {
  const key = (name: string, version = "", architecture = "") => `${name} ${version} ${architecture}`;
  const inside = new Set([...installed].map(([name, one]) => key(name, one.version, one.architecture)));
  const wanted = new Set(locked.map((one) => key(one.name, one.version, one.architecture)));
  const differing = [
    ...[...inside].filter((one) => !wanted.has(one)),
    ...[...wanted].filter((one) => !inside.has(one)),
  ];
  if (differing.length === 0) return;
  throw new KubedosError("failed", `what dpkg says inside the tree is not what the lock says: ${differing.join(", ")}`);
}
