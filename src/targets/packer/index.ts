import { join } from "node:path";
import type { Stage } from "../../assemble/engine.ts";
import { hashFile } from "../../store/store.ts";
import { writeArchive } from "../archive.ts";
import { packerReadme, packerTemplate, packerVariables } from "./template.ts";

/** The target `packer`: a template for the qcow2 image beside it, in a tar archive. */
export function packerStage(qcow2: Stage, cluster: string, epoch: number): Stage {
  return {
    name: "packer",
    version: "2",
    options: { cluster, epoch },
    inputs: { qcow2: { stage: qcow2, output: "image" } },
    outputs: ["image"],
    async run(work) {
      const sha256 = await hashFile(work.inputs["qcow2"]!, work.signal);
      const image = { cluster, file: `${cluster}.qcow2`, sha256 };
      const files = [
        { name: "README.md", content: packerReadme(image) },
        { name: `${cluster}.pkr.hcl`, content: packerTemplate(image) },
        { name: "variables.pkr.hcl", content: packerVariables(image) },
      ];
      const inFolder = files.map((file) => ({ ...file, name: `${cluster}.packer/${file.name}` }));
      await writeArchive(inFolder, join(work.out, "image"), epoch);
    },
  };
}
