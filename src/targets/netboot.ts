import type { Stage } from "../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../assemble/tools.ts";
import { writerStage } from "../seal/stages/writer.ts";
import { shimInputs } from "../seal/stages/shim.ts";
import type { MediumParts } from "./iso.ts";

/**
 * netboot: a tar of what machines fetch: the signed boot image (boot.efi), kernel and initrd for BIOS, iPXE with its
 * script, a GRUB configuration, the compressed image with its hash, and the network cards that are to be installed. With
 * a shim, that (shimx64.efi), the boot image under the name that a shim asks for, and what enrols the certificate.
 */
export function netbootStage(tools: Tools, parts: { root: Stage; raw: Stage; medium: MediumParts }): Stage {
  const { root, raw, medium } = parts;
  const { compressed, initrd, files, name, shim } = medium;
  const writer = writerStage(tools, { root, raw, compressed, initrd, files, name, from: "network" });
  return {
    name: "netboot",
    version: scriptVersion(tools, "netboot.sh"),
    options: { epoch: tools.epoch },
    inputs: {
      uki: { stage: medium.sign(writer, "netboot"), output: "uki" },
      vmlinuz: { stage: initrd, output: "vmlinuz" },
      initrd: { stage: initrd, output: "initrd" },
      layer: { stage: writer, output: "layer" },
      zst: { stage: compressed, output: "zst" },
      sum: { stage: compressed, output: "sum" },
      files,
      ...(shim === undefined ? {} : shimInputs(shim)),
    },
    outputs: ["image"],
    async run(work) {
      await runScript(tools, work, "netboot.sh");
    },
  };
}
