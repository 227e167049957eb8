import { join } from "node:path";
import type { Stage } from "../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../assemble/tools.ts";
import type { TargetName } from "../spec/types.ts";
import { writeRawImage } from "./raw.ts";
import type { Target } from "./types.ts";

/** The raw image: what every other target is made from. */
export function rawStage(root: Stage, esp: Stage): Stage {
  return {
    name: "raw",
    version: "1",
    options: {},
    inputs: {
      esp: { stage: esp, output: "esp" },
      root: { stage: root, output: "root" },
      verity: { stage: root, output: "verity" },
    },
    outputs: ["image"],
    async run(work) {
      const parts = { esp: work.inputs["esp"]!, root: work.inputs["root"]!, verity: work.inputs["verity"]! };
      await writeRawImage(join(work.out, "image"), parts, String(work.meta["root"]!["roothash"]), work.signal);
    },
  };
}

function qcow2Stage(tools: Tools, raw: Stage): Stage {
  return {
    name: "qcow2",
    version: scriptVersion(tools, "qcow2.sh"),
    options: {},
    inputs: { raw: { stage: raw, output: "image" } },
    outputs: ["image"],
    async run(work) {
      await runScript(tools, work, "qcow2.sh");
    },
  };
}

/** All output formats. */
export const targets = {
  raw: {
    name: "raw",
    summary: "disk image, byte for byte: dd, Proxmox import, any hypervisor",
    extension: "raw",
    stage: ({ raw }) => raw,
  },
  qcow2: {
    name: "qcow2",
    summary: "QEMU/KVM, libvirt, Proxmox, OpenStack",
    extension: "qcow2",
    stage: ({ tools, raw }) => qcow2Stage(tools, raw),
  },
} satisfies Record<TargetName, Target> as Record<TargetName, Target>;
