import { createHash } from "node:crypto";
import { guidFromHash } from "../../targets/gpt.ts";
import type { Stage } from "../engine.ts";
import { runScript, scriptVersion, type Tools } from "../tools.ts";

/**
 * The sealed root: tree, Python environments and overlay as erofs, and its dm-verity hash tree. Passes on `roothash` (hex) and `blocks` (of
 * 4096 bytes). The ids that the formats want are taken from the inputs' hashes.
 */
export function rootStage(
  tools: Tools,
  tree: Stage,
  overlay: { sha256: string },
  units: { sha256: string },
  python?: Stage,
): Stage {
  const seed = createHash("sha256").update(`${overlay.sha256} ${units.sha256} ${tools.epoch}`).digest("hex");
  const salt = createHash("sha256").update(`salt ${seed}`).digest("hex");
  return {
    name: "root",
    version: scriptVersion(tools, "root.sh"),
    options: { epoch: tools.epoch, salt },
    inputs: {
      tree: { stage: tree, output: "tree" },
      overlay,
      units,
      ...(python === undefined ? {} : { python: { stage: python, output: "tree" } }),
    },
    outputs: ["root", "verity", "osrel"],
    run: (work) =>
      runScript(tools, work, "root.sh", [
        guidFromHash(`e50f5${seed}`).toLowerCase(),
        guidFromHash(`7e517${seed}`).toLowerCase(),
        salt,
      ]).then((values) => ({ ...values, salt })),
  };
}
