import { join } from "node:path";
import type { Stage } from "../../assemble/engine.ts";
import type { Spec } from "../../spec/types.ts";
import { hashFile } from "../../store/store.ts";
import { writeArchive } from "../archive.ts";
import { hclText, jsonText } from "../hcl.ts";
import { libvirtModule, proxmoxModule, type TerraformImage } from "./modules.ts";
import { terraformReadme } from "./readme.ts";

/** Files of the archive by path: every module in both of HCL's syntaxes. */
export function terraformFiles(spec: Spec, image: TerraformImage): { name: string; content: string }[] {
  const modules = { proxmox: proxmoxModule(spec, image), libvirt: libvirtModule(spec, image) };
  return [
    { name: "README.md", content: terraformReadme(spec.metadata.name, image.file) },
    ...Object.entries(modules).flatMap(([name, body]) => [
      { name: `${name}/main.tf`, content: hclText(body) },
      { name: `${name}-json/main.tf.json`, content: jsonText(body) },
    ]),
  ];
}

/** The target `terraform`: modules for the qcow2 image beside it, in a tar archive. */
export function terraformStage(qcow2: Stage, spec: Spec, epoch: number): Stage {
  const { name } = spec.metadata;
  const nodes = spec.nodes.map(({ name: node, cpus, memoryMiB, diskGiB }) => ({ node, cpus, memoryMiB, diskGiB }));
  return {
    name: "terraform",
    version: "1",
    options: { name, nodes, epoch },
    inputs: { qcow2: { stage: qcow2, output: "image" } },
    outputs: ["image"],
    async run(work) {
      const image = { file: `${name}.qcow2`, sha256: await hashFile(work.inputs["qcow2"]!, work.signal) };
      const files = terraformFiles(spec, image).map((file) => ({ ...file, name: `${name}.terraform/${file.name}` }));
      await writeArchive(files, join(work.out, "image"), epoch);
    },
  };
}
