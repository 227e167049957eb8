import { KubedosError } from "../../shared/error.ts";
import type { Stage } from "../assemble/engine.ts";
import { rootStage, type RootExtras } from "../assemble/stages/root.ts";
import { treeStage } from "../assemble/stages/tree.ts";
import type { Tools } from "../assemble/tools.ts";
import type { Lock } from "../lock/types.ts";
import type { Sign } from "../seal/signer.ts";
import { espStage } from "../seal/stages/esp.ts";
import { initrdStage } from "../seal/stages/initrd.ts";
import { sbomStage } from "../seal/stages/sbom.ts";
import type { Shim } from "../seal/stages/shim.ts";
import { signStage } from "../seal/stages/sign.ts";
import { ukiStage } from "../seal/stages/uki.ts";
import type { KernelFlavour } from "../spec/types.ts";
import type { Store } from "../store/store.ts";
import { rawStage } from "../targets/registry.ts";

/** The stages of one sealed image: all that depends on its kernel. */
export interface SealedImage {
  kernel: KernelFlavour;
  tree: Stage;
  root: Stage;
  initrd: Stage;
  uki: Stage;
  sign: Stage;
  esp: Stage;
  sbom: Stage;
  raw: Stage;
}

/** What sealed images are made from. Inputs with a `sha256` are objects of the store. */
export interface ImageInputs {
  tools: Tools;
  lock: Lock;
  store: Store;
  suite: string;
  /** Every kernel that the lock holds; the platform's own first. */
  kernels: readonly KernelFlavour[];
  overlay: { sha256: string };
  units: { sha256: string };
  /** The features' files. */
  files: readonly { path: string; content: string | Uint8Array }[];
  extras: RootExtras;
  init: { sha256: string };
  /** Whether nodes may use USB disks. */
  usbStorage: boolean;
  seed: { sha256: string };
  layer: { sha256: string };
  certificate: { sha256: string };
  sign: Sign;
  shim?: Shim;
}

/** The sealed image with one kernel. Pure. Stages of another than the platform's own have its name at their end. */
export function sealedImage(inputs: ImageInputs, kernel: KernelFlavour): SealedImage {
  const { tools, lock, store, suite, kernels, overlay, units, files, extras } = inputs;
  const suffix = kernel === kernels[0] ? "" : `-${kernel}`;
  const own = { ...lock, platform: packagesOf(lock, kernel) };
  const tree = treeStage(tools, own.platform, store, suffix);
  const root = rootStage(tools, tree, overlay, units, extras, suffix);
  const needs = { flavour: kernel, usbStorage: inputs.usbStorage };
  const programs = { init: inputs.init, seed: inputs.seed };
  const initrd = initrdStage(tools, kernelPackage(lock, kernel, kernels), needs, programs, suffix);
  const uki = ukiStage(tools, root, initrd, inputs.layer, suffix);
  const sign = signStage(uki, inputs.certificate, lock.epoch, inputs.sign, `sign${suffix}`);
  const esp = espStage(tools, uki, sign, "system", suffix, inputs.shim);
  const sbom = sbomStage(tree, extras.python, own, suite, files, suffix);
  return { kernel, tree, root, initrd, uki, sign, esp, sbom, raw: rawStage(root, esp, suffix) };
}

/** A kernel's package: `linux-image-6.12.1-amd64`, and the one that always depends on the newest. */
const kernelImage = /^linux-image-(\d|amd64$|cloud-amd64$)/;

function isOfFlavour(name: string, flavour: KernelFlavour): boolean {
  return name.includes("cloud") === (flavour === "cloud");
}

/** The locked packages without the other kernel, where the lock holds two. */
export function packagesOf(lock: Lock, flavour: KernelFlavour): Lock["platform"] {
  return lock.platform.filter(({ name }) => !kernelImage.test(name) || isOfFlavour(name, flavour));
}

/** The locked package with a kernel. @throws KubedosError when the lock has not exactly one of every wanted flavour */
export function kernelPackage(
  lock: Lock,
  flavour: KernelFlavour,
  wanted: readonly KernelFlavour[],
): { sha256: string } {
  const images = lock.platform.filter(({ name }) => /^linux-image-\d/.test(name));
  const [own, ...more] = images.filter(({ name }) => isOfFlavour(name, flavour));
  const strange = images.some(({ name }) => !wanted.some((one) => isOfFlavour(name, one)));
  if (own !== undefined && more.length === 0 && !strange) return { sha256: own.sha256 };
  const found = images.map(({ name }) => name).join(", ") || "none";
  const each = wanted.join(" and one ");
  throw new KubedosError("spec", `the lock must hold exactly one ${each} kernel image, found: ${found}`, {
    hint: "run `kubedos lock --update`, or remove the second kernel from platform.packages",
  });
}
