import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { KubedosError } from "../../../shared/error.ts";
import { stageId, type Stage } from "../../assemble/engine.ts";
import { objectsDirectory } from "../../assemble/stages/python.ts";
import { blobInputs, type RootExtras } from "../../assemble/stages/root.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";
import type { Lock, LockedPackage } from "../../lock/types.ts";
import { poolFiles } from "../../repository/pool.ts";
import { installerRepositoryStage, packagesStage, type RepositoryIdentity } from "../../repository/stages.ts";
import type { Store } from "../../store/store.ts";
import { guidFromHash } from "../gpt.ts";
import { initrdParts, installerPackage, installerTools, mediumParts, replacedParts } from "./packages.ts";

/** What both the medium and what is said about it are made from. */
export interface InstallerStages {
  /** Kernel and initrd of the installer; `parts`: names and versions of the installer's parts in the initrd. */
  initrd: Stage;
  /** The medium's repository, signed. */
  repository: Stage;
}

/** What a medium with Debian's installer is made from. Inputs with a `sha256` are objects of the store. */
export interface NetinstParts {
  name: string;
  /** The platform's packages, with the generic kernel. */
  platform: readonly LockedPackage[];
  lock: Pick<Lock, "netinst" | "installer">;
  store: Store;
  kernel: { sha256: string };
  identity: RepositoryIdentity;
  overlay: { sha256: string };
  units: { sha256: string };
  layer: { sha256: string };
  extras: RootExtras;
  /** Archives of ours for the installer's initrd and for the medium. */
  initrdFiles: { sha256: string };
  mediumFiles: { sha256: string };
}

/**
 * netinst: Debian's installer with answers to all its questions, and a signed repository with everything that it
 * installs. The installed node has the platform's packages and files, and is not sealed.
 */
export function netinstStage(tools: Tools, parts: NetinstParts & InstallerStages): Stage {
  const { platform, lock, store, identity, extras, initrd, repository } = parts;
  const list = platform.map(({ name, version }) => `${name}=${version}\n`).toSorted();
  const { python, blobs = [] } = extras;
  return {
    name: "netinst",
    version: scriptVersion(tools, "netinst.sh", "features.sh"),
    options: { epoch: tools.epoch, list, ...(blobs.length > 0 ? { blobs } : {}) },
    inputs: {
      vmlinuz: { stage: initrd, output: "vmlinuz" },
      initrd: { stage: initrd, output: "initrd" },
      repository: { stage: repository, output: "image" },
      overlay: parts.overlay,
      units: parts.units,
      layer: parts.layer,
      medium: parts.mediumFiles,
      shim: lockedAs(lock.netinst, "shim-signed"),
      helpers: lockedAs(lock.netinst, "shim-helpers-amd64-signed"),
      grub: lockedAs(lock.netinst, "grub-efi-amd64-signed"),
      ...(python === undefined ? {} : { python: { stage: python, output: "tree" } }),
    },
    outputs: ["image"],
    async run(work) {
      const packagesFile = join(work.out, "packages");
      await writeFile(packagesFile, list.join(""));
      const id = createHash("sha256").update(stageId(initrd)).update(identity.signer.certificate).digest("hex");
      const inputs = blobs.length > 0 ? await blobInputs(blobs, store, work.out) : {};
      const guid = guidFromHash(id).replaceAll("-", "").toLowerCase();
      await runScript(tools, work, "netinst.sh", ["KUBEDOS-NETINST", guid], {
        inputs: { ...inputs, packages: packagesFile },
      });
    },
  };
}

/** The installer, and the repository that it reads from. */
export function installerStages(tools: Tools, parts: NetinstParts): InstallerStages {
  const { lock, store, identity } = parts;
  const { packages, installer } = mediumPackages(parts.platform, lock);
  const indexes = {
    packages: packagesStage(tools, packages, store, "netinst-packages"),
    parts: packagesStage(tools, installer, store, "netinst-parts"),
  };
  return {
    initrd: initrdStage(tools, parts, installer),
    repository: installerRepositoryStage(indexes, [...packages, ...installer], identity, store),
  };
}

/** What the medium's repository holds: packages, and parts of the installer. */
export function mediumPackages(
  platform: readonly LockedPackage[],
  lock: Pick<Lock, "netinst" | "installer">,
): { packages: LockedPackage[]; installer: readonly LockedPackage[] } {
  const added = (lock.netinst ?? []).filter(({ name }) => name !== installerPackage);
  return { packages: [...platform, ...added], installer: lock.installer ?? [] };
}

/** Kernel and initrd of the installer. */
function initrdStage(tools: Tools, parts: NetinstParts, installer: readonly LockedPackage[]): Stage {
  const { lock, store, kernel, initrdFiles } = parts;
  const objects = objectsDirectory(store);
  const files = poolFiles(installer);
  const tooling = installerTools.map((name) => lockedAs(parts.platform, name));
  const environment = {
    MEDIUM_PARTS: mediumParts.join(" "),
    INITRD_PARTS: initrdParts.join(" "),
    REPLACED_PARTS: replacedParts.join(" "),
    TOOLS: tooling.map(({ sha256 }) => relative(objects, store.path(sha256))).join(" "),
  };
  return {
    name: "netinst-initrd",
    version: scriptVersion(tools, "netinst-initrd.sh"),
    options: { epoch: tools.epoch, parts: files.map(({ entry }) => entry.sha256), ...environment },
    inputs: { installer: lockedAs(lock.netinst, installerPackage), kernel, files: initrdFiles },
    outputs: ["vmlinuz", "initrd", "parts"],
    async run(work) {
      const list = join(work.out, "list");
      const lines = files.map(({ path, entry }) => `${path} ${relative(objects, store.path(entry.sha256))}\n`);
      await writeFile(list, lines.join(""));
      await runScript(tools, work, "netinst-initrd.sh", [], { env: environment, inputs: { parts: list, objects } });
    },
  };
}

function lockedAs(packages: readonly LockedPackage[] = [], wanted: string): { sha256: string } {
  const found = packages.find(({ name }) => name === wanted);
  if (found !== undefined) return { sha256: found.sha256 };
  throw new KubedosError("spec", `the lock has no ${wanted}, which the target netinst needs`, {
    hint: "run `kubedos lock --update`",
  });
}
