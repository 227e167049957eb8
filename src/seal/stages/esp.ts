import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { stageId, type Stage } from "../../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";

const mebibyte = 1024 * 1024;
const smallestBytes = 48 * mebibyte; // FAT32 needs 33 MiB
const spareBytes = 24 * mebibyte;

/**
 * The signed UKI and the EFI system partition that holds it. The id covers the certificate; the key itself goes in by
 * standard input only.
 */
export function espStage(tools: Tools, uki: Stage, certificate: { sha256: string }, key: string): Stage {
  const inputs: Stage["inputs"] = { unsigned: { stage: uki, output: "unsigned" }, certificate };
  return {
    name: "sign",
    version: scriptVersion(tools, "esp.sh"),
    options: { epoch: tools.epoch },
    inputs,
    outputs: ["uki", "esp"],
    async run(work) {
      const { size } = await stat(work.inputs["unsigned"]!);
      const espBytes = Math.max(smallestBytes, Math.ceil((size + spareBytes) / mebibyte) * mebibyte);
      const volumeId = createHash("sha256").update(stageId(uki)).digest("hex").slice(0, 8);
      await runScript(tools, work, "esp.sh", [String(espBytes), volumeId], { stdin: key });
    },
  };
}
