import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import type { LockedBlob } from "../../lock/inputs.ts";
import type { Store } from "../../store/store.ts";
import { guidFromHash } from "../../targets/gpt.ts";
import type { Stage } from "../engine.ts";
import { runScript, scriptVersion, type Tools } from "../tools.ts";
import { objectsDirectory } from "./python.ts";

/** What a root holds beside Debian's packages and the features' files. */
export interface RootExtras {
  python?: Stage;
  /** Those with a path in the image, from this store. */
  blobs?: readonly LockedBlob[];
  store?: Store;
}

/**
 * The sealed root: tree, Python environments and overlay as erofs, and its dm-verity hash tree. Passes on `roothash` (hex) and `blocks` (of
 * 4096 bytes). The ids that the formats want are taken from the inputs' hashes.
 */
export function rootStage(
  tools: Tools,
  tree: Stage,
  overlay: { sha256: string },
  units: { sha256: string },
  extras: RootExtras = {},
  suffix = "",
): Stage {
  const { python, blobs = [], store } = extras;
  const seed = createHash("sha256").update(`${overlay.sha256} ${units.sha256} ${tools.epoch}`).digest("hex");
  const salt = createHash("sha256").update(`salt ${seed}`).digest("hex");
  return {
    name: `root${suffix}`,
    version: scriptVersion(tools, "root.sh", "features.sh", "pruned"),
    options: { epoch: tools.epoch, salt, ...(blobs.length > 0 ? { blobs } : {}) },
    inputs: {
      tree: { stage: tree, output: "tree" },
      overlay,
      units,
      ...(python === undefined ? {} : { python: { stage: python, output: "tree" } }),
    },
    outputs: ["root", "verity", "osrel"],
    async run(work) {
      const ids = [guidFromHash(`e50f5${seed}`), guidFromHash(`7e517${seed}`)].map((id) => id.toLowerCase());
      const inputs = blobs.length > 0 && store !== undefined ? await blobInputs(blobs, store, work.out) : {};
      const values = await runScript(tools, work, "root.sh", [...ids, salt], { inputs });
      return { ...values, salt };
    },
  };
}

/** A list for features.sh, and the store's objects. */
export async function blobInputs(
  blobs: readonly LockedBlob[],
  store: Store,
  out: string,
): Promise<Record<string, string>> {
  const objects = objectsDirectory(store);
  const lines = blobs.map(({ sha256, path, mode }) => {
    return `${(mode ?? 0o644).toString(8).padStart(4, "0")} ${relative(objects, store.path(sha256))} ${path!}\n`;
  });
  const list = join(out, "blobs");
  await writeFile(list, lines.join(""));
  return { blobs: list, objects };
}
