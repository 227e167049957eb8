import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Stage } from "../../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";
import { projectAssets } from "../../host/project.ts";
import { readSections } from "../../seal/uki.ts";
import type { Spec } from "../../spec/types.ts";
import { hashFile } from "../../store/store.ts";
import { writeArchive } from "../archive.ts";
import { kernelPayload } from "./bzimage.ts";
import { machineConfig, machineFiles, tapName } from "./config.ts";
import { firecrackerReadme } from "./readme.ts";

/**
 * The target `firecracker`: kernel (ELF), initrd, a configuration for each node's machine and a script that starts it,
 * in a tar archive that goes beside the raw image. Kernel, initrd and command line are taken out of the boot image:
 * what boots here is what is sealed there.
 */
export function firecrackerStage(tools: Tools, spec: Spec, parts: { uki: Stage; raw: Stage }): Stage {
  const runText = projectAssets()("src/targets/firecracker/run.sh");
  const { name } = spec.metadata;
  const nodes = spec.nodes.map((node) => {
    const { name: hostname, index, cpus, memoryMiB, diskGiB } = node;
    return { name: hostname, index, cpus, memoryMiB, diskGiB };
  });
  return {
    name: "firecracker",
    version: `1 ${scriptVersion(tools, "vmlinux.sh")}`,
    options: { epoch: tools.epoch, name, nodes, run: runText },
    inputs: { uki: { stage: parts.uki, output: "unsigned" }, raw: { stage: parts.raw, output: "image" } },
    outputs: ["image"],
    async run(work) {
      // 1. The boot image's parts.
      const image = await readFile(work.inputs["uki"]!);
      const sections = readSections(image);
      const section = (wanted: string) => {
        const { offset, sizeBytes } = sections.find((one) => one.name === wanted)!;
        return image.subarray(offset, offset + sizeBytes);
      };
      const [payload, kernel] = [join(work.out, "payload"), join(work.out, "vmlinux")];
      await writeFile(payload, kernelPayload(section(".linux")));
      await runScript(tools, work, "vmlinux.sh", [], { inputs: { payload } });
      // 2. Machines.
      const commandLine = section(".cmdline").toString();
      const machines = spec.nodes.map((node) => ({
        name: `machines/${node.name}.json`,
        content: `${JSON.stringify(machineConfig(spec, node, commandLine), undefined, 2)}\n`,
      }));
      // 3. All in one, in a folder of its own.
      const files = [
        { name: "README.md", content: firecrackerReadme(name) },
        { name: "run", content: runText, program: true },
        {
          name: "nodes",
          content: spec.nodes.map((node) => `${node.name} ${node.diskGiB} ${tapName(node)}\n`).join(""),
        },
        { name: "image", content: `${await hashFile(work.inputs["raw"]!, work.signal)} ${name}.raw\n` },
        { name: machineFiles.kernel, content: await readFile(kernel) },
        { name: machineFiles.initrd, content: section(".initrd") },
        ...machines,
      ];
      const inFolder = files.map((file) => ({ ...file, name: `${name}.firecracker/${file.name}` }));
      await writeArchive(inFolder, join(work.out, "image"), tools.epoch);
      for (const file of [payload, kernel]) await rm(file);
    },
  };
}
