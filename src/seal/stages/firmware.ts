import { guidFromHash } from "../../targets/gpt.ts";
import type { Stage } from "../../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";

/** OVMF for virtual machines, with only the foundry's own Secure Boot keys enrolled (PEM certificates as inputs). */
export function firmwareStage(
  tools: Tools,
  keys: { pk: { sha256: string }; kek: { sha256: string }; db: { sha256: string } },
): Stage {
  const owner = guidFromHash(keys.pk.sha256).toLowerCase();
  return {
    name: "firmware",
    version: scriptVersion(tools, "firmware.sh"),
    options: { owner },
    inputs: keys,
    outputs: ["code", "vars"],
    async run(work) {
      await runScript(tools, work, "firmware.sh", [owner]);
    },
  };
}
