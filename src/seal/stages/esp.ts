import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { stageId, type Stage } from "../../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";
import { shimInputs, type Shim } from "./shim.ts";

const mebibyte = 1024 * 1024;

/**
 * Partition that holds a boot image. `system`: with room for a second one, FAT32 as firmware expects it of a disk.
 * `medium`: as small as can be.
 */
const layouts = {
  system: { name: "esp", fatBits: 32, smallestBytes: 48 * mebibyte, spareBytes: 24 * mebibyte },
  medium: { name: "writer-esp", fatBits: 16, smallestBytes: 16 * mebibyte, spareBytes: 2 * mebibyte },
} as const;

/** Room for a shim with all that belongs to it. */
const shimBytes = 2 * mebibyte;

/** The EFI system partition that holds the signed boot image; with a shim, that comes first (esp.sh). */
export function espStage(
  tools: Tools,
  uki: Stage,
  sign: Stage,
  layout: keyof typeof layouts = "system",
  suffix = "",
  shim?: Shim,
): Stage {
  const { name, fatBits, smallestBytes, spareBytes: spare } = layouts[layout];
  const spareBytes = spare + (shim === undefined ? 0 : shimBytes);
  return {
    name: `${name}${suffix}`,
    version: scriptVersion(tools, "esp.sh"),
    options: { epoch: tools.epoch, fatBits, smallestBytes, spareBytes },
    inputs: {
      uki: { stage: sign, output: "uki" },
      unsigned: { stage: uki, output: "unsigned" },
      ...(shim === undefined ? {} : shimInputs(shim)),
    },
    outputs: ["esp"],
    async run(work) {
      const { size } = await stat(work.inputs["unsigned"]!);
      const espBytes = Math.max(smallestBytes, Math.ceil((size + spareBytes) / mebibyte) * mebibyte);
      const volumeId = createHash("sha256").update(stageId(uki)).digest("hex").slice(0, 8);
      await runScript(tools, work, "esp.sh", [String(espBytes), volumeId, String(fatBits)]);
    },
  };
}
