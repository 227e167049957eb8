import type { Stage } from "../assemble/engine.ts";
import type { Tools } from "../assemble/tools.ts";
import type { LockedBlob } from "../lock/inputs.ts";
import type { Lock, LockedPackage } from "../lock/types.ts";
import type { ArchiveSigner } from "../repository/signer.ts";
import { repositoryIdentity } from "../repository/stages.ts";
import { writeCpio } from "../seal/cpio.ts";
import { imageFiles, manifestFiles } from "../seal/manifest.ts";
import { ownFile } from "../seal/stages/sbom.ts";
import { licencesStage } from "../seal/stages/licences.ts";
import { mediumSbomStage } from "../seal/stages/sbom-medium.ts";
import type { Spec } from "../spec/types.ts";
import type { Store } from "../store/store.ts";
import { policyText } from "../targets/iso.ts";
import { grubDefault, installerFiles } from "../targets/netinst/files.ts";
import { installerStages, mediumPackages, type InstallerStages, type NetinstParts } from "../targets/netinst/index.ts";
import { bootPackages, installerPackage, installerTools, replacedParts } from "../targets/netinst/packages.ts";
import { kernelPackage, packagesOf, type SealedImage } from "./images.ts";

/** An output of a stage that is published beside the artifacts. */
export interface PublishedObject {
  file: string;
  stage: Stage;
  output: string;
}

/** Of a build's inputs and parts what the medium is made from. */
export interface NetinstInputs {
  spec: Spec;
  lock: Lock;
  platform: { files: readonly { path: string; content: string | Uint8Array }[] };
  seed: string;
  writer: { scripts: readonly { path: string; content: string }[] };
  installer: Readonly<Record<"choose-disk" | "install" | "preseed.cfg" | "start", string>>;
  archive: ArchiveSigner;
  tools: Tools;
  store: Store;
  sealed: Pick<SealedImage, "kernel" | "tree">;
  overlay: { sha256: string };
  units: { sha256: string };
  layer: { sha256: string };
  python: Stage | undefined;
  /** Files of the web that are installed. */
  files: readonly LockedBlob[];
  /** Puts bytes into the build's inputs. */
  blob(content: Uint8Array): { sha256: string };
}

/**
 * The medium with Debian's installer: its parts, and what is published beside it, because nothing else holds it: the
 * signatures of its repository, and bills of materials. Pure.
 */
export function netinstMedium(inputs: NetinstInputs): {
  parts: NetinstParts & InstallerStages;
  documents: PublishedObject[];
} {
  const { spec, lock, store, tools, sealed, installer, archive, blob } = inputs;
  const text = (path: string) => inputs.writer.scripts.find((script) => script.path === path)!.content;
  // 1. Files of ours: in the installer's initrd, and on the medium.
  const scripts = {
    console: text("console"),
    disk: text("disk"),
    policy: policyText(spec),
    "choose-disk": installer["choose-disk"],
  };
  const initrdFiles = installerFiles(scripts, installer["preseed.cfg"], archive.certificate);
  const onMedium = {
    install: installer.install,
    start: installer.start,
    seed: inputs.seed,
    "grub-default": grubDefault(),
  };
  const mediumFiles = Object.entries(onMedium).map(([name, content]) => {
    return { path: `kubedos/${name}`, mode: 0o644, content: Buffer.from(content) };
  });
  // 2. The medium.
  const platform = packagesOf(lock, sealed.kernel);
  const parts: NetinstParts = {
    name: spec.metadata.name,
    platform,
    lock,
    store,
    kernel: kernelPackage(lock, sealed.kernel, spec.platform.kernels),
    identity: repositoryIdentity(spec, lock, archive),
    overlay: inputs.overlay,
    units: inputs.units,
    layer: inputs.layer,
    extras: { python: inputs.python, blobs: inputs.files, store },
    initrdFiles: blob(writeCpio(initrdFiles, lock.epoch, { directories: false })),
    mediumFiles: blob(writeCpio(mediumFiles, lock.epoch, { directories: true })),
  };
  const stages = installerStages(tools, parts);
  // 3. What is said about it.
  const { packages, installer: repositoryParts } = mediumPackages(platform, lock);
  const started = startedPackages(lock, platform);
  const inTree = new Set(platform.map(({ sha256 }) => sha256));
  const beside = [...packages, ...started].filter(({ sha256 }) => !inTree.has(sha256));
  const licences = licencesStage(tools, beside, store, "-netinst");
  const sbom = mediumSbomStage(sealed.tree, inputs.python, licences, stages.initrd, {
    suite: spec.platform.suite,
    lock,
    repository: [...packages, ...repositoryParts],
    installer: started,
    without: replacedParts,
    files: [
      ...inputs.platform.files.map((file) => ownFile(file)),
      ...mediumFiles.map((file) => ownFile({ ...file, path: `/${file.path}` }, "medium")),
      ...initrdFiles.map((file) => ownFile({ ...file, path: `/${file.path}` }, "installer")),
    ],
  });
  const names = imageFiles("netinst");
  return {
    parts: { ...parts, ...stages },
    documents: [
      { file: names.cyclonedx, stage: sbom, output: "cyclonedx" },
      { file: names.spdx, stage: sbom, output: "spdx" },
      { file: manifestFiles.installerSignature, stage: stages.repository, output: "signature" },
    ],
  };
}

/** What the installer is made from: boot loaders, Debian's build of the installer, kernel, tools for file systems. */
function startedPackages(lock: Lock, platform: readonly LockedPackage[]): LockedPackage[] {
  const loaders = [...(lock.netinst ?? []), ...lock.foundry].filter(({ name }) => bootPackages.includes(name));
  const own = platform.filter(({ name }) => /^linux-image-\d/.test(name) || installerTools.includes(name));
  return [...loaders, ...(lock.netinst ?? []).filter(({ name }) => name === installerPackage), ...own];
}
