import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Stage } from "../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../assemble/tools.ts";
import { writeGceTar } from "./gce.ts";
import { writeOva } from "./ova.ts";
import { writeVhd } from "./vhd.ts";
import { writeVhdx } from "./vhdx.ts";
import { grainBytes, writeVmdk } from "./vmdk.ts";

/**
 * Stages of the container formats that our own code writes. A version's number changes with the bytes that the code
 * writes; compression is done by the foundry's tools, which are part of the version.
 */

/** Hardware that an OVA asks for; whoever imports it may give more. */
const applianceHardware = { cpus: 2, memoryMiB: 2048 };

/** vmdk: streamOptimized. */
export function vmdkStage(tools: Tools, raw: Stage): Stage {
  return {
    name: "vmdk",
    version: `1 ${scriptVersion(tools, "grains.sh", "deflate.py")}`,
    options: { grainBytes },
    inputs: { raw: { stage: raw, output: "image" } },
    outputs: ["image"],
    async run(work) {
      const [grains, lengths] = [join(work.out, "grains"), join(work.out, "lengths")];
      await runScript(tools, work, "grains.sh", [String(grainBytes)]);
      const { size: sizeBytes } = await stat(work.inputs["raw"]!);
      const input = { grains, lengths: await readFile(lengths), sizeBytes };
      await writeVmdk(input, join(work.out, "image"), work.signal);
    },
  };
}

/** ova: the vmdk with a description of its machine. */
export function ovaStage(tools: Tools, vmdk: Stage): Stage {
  return {
    name: "ova",
    version: "1",
    options: { epoch: tools.epoch, ...applianceHardware },
    inputs: { vmdk: { stage: vmdk, output: "image" } },
    outputs: ["image"],
    async run(work) {
      await writeOva(work.inputs["vmdk"]!, applianceHardware, join(work.out, "image"), tools.epoch, work.signal);
    },
  };
}

/** vhd: fixed size. */
export function vhdStage(tools: Tools, raw: Stage): Stage {
  return {
    name: "vhd",
    version: "1",
    options: { epoch: tools.epoch },
    inputs: { raw: { stage: raw, output: "image" } },
    outputs: ["image"],
    async run(work) {
      await writeVhd(work.inputs["raw"]!, join(work.out, "image"), tools.epoch, work.signal);
    },
  };
}

/** vhdx: dynamic. */
export function vhdxStage(raw: Stage): Stage {
  return {
    name: "vhdx",
    version: "1",
    options: {},
    inputs: { raw: { stage: raw, output: "image" } },
    outputs: ["image"],
    async run(work) {
      await writeVhdx(work.inputs["raw"]!, join(work.out, "image"), work.signal);
    },
  };
}

/** gce: a compressed archive. */
export function gceStage(tools: Tools, raw: Stage): Stage {
  return {
    name: "gce",
    version: `1 ${scriptVersion(tools, "gzip.sh", "deflate.py")}`,
    options: { epoch: tools.epoch },
    inputs: { raw: { stage: raw, output: "image" } },
    outputs: ["image"],
    async run(work) {
      const plain = join(work.out, "plain");
      await writeGceTar(work.inputs["raw"]!, plain, tools.epoch, work.signal);
      await runScript(tools, work, "gzip.sh", [], { inputs: { plain } });
      await rm(plain);
    },
  };
}
