import { guidFromHash } from "../../targets/gpt.ts";
import type { Stage } from "../../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";
import type { Shim } from "./shim.ts";

/**
 * OVMF for virtual machines. With `enforce`, only the foundry's own Secure Boot keys are enrolled (PEM certificates as
 * inputs); without, the variables are empty and the firmware starts anything.
 * With a shim the certificate that it trusts by itself is denied: what Debian signed does not start here.
 * `aws`: the same variables in the format that EC2 takes (base64).
 */
export function firmwareStage(
  tools: Tools,
  keys: { pk: { sha256: string }; kek: { sha256: string }; db: { sha256: string } },
  enforce: boolean,
  shim?: Shim,
): Stage {
  const owner = guidFromHash(keys.pk.sha256).toLowerCase();
  return {
    name: "firmware",
    version: scriptVersion(tools, "firmware.sh"),
    options: { owner, enforce },
    inputs: { ...keys, ...(shim === undefined ? {} : { denied: { stage: shim.files, output: "denied" } }) },
    outputs: ["code", "vars", "aws"],
    async run(work) {
      await runScript(tools, work, "firmware.sh", [owner, enforce ? "enforce" : "open"]);
    },
  };
}
