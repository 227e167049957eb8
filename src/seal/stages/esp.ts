import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { stageId, type Stage } from "../../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";

const mebibyte = 1024 * 1024;
const smallestBytes = 48 * mebibyte; // FAT32 needs 33 MiB
const spareBytes = 24 * mebibyte;

/** The EFI system partition that holds the signed boot image. */
export function espStage(tools: Tools, uki: Stage, sign: Stage, suffix = ""): Stage {
  return {
    name: `esp${suffix}`,
    version: scriptVersion(tools, "esp.sh"),
    options: { epoch: tools.epoch },
    inputs: { uki: { stage: sign, output: "uki" }, unsigned: { stage: uki, output: "unsigned" } },
    outputs: ["esp"],
    async run(work) {
      const { size } = await stat(work.inputs["unsigned"]!);
      const espBytes = Math.max(smallestBytes, Math.ceil((size + spareBytes) / mebibyte) * mebibyte);
      const volumeId = createHash("sha256").update(stageId(uki)).digest("hex").slice(0, 8);
      await runScript(tools, work, "esp.sh", [String(espBytes), volumeId]);
    },
  };
}
