import { writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import type { Stage } from "../../assemble/engine.ts";
import { objectsDirectory } from "../../assemble/stages/python.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";
import type { LockedPackage } from "../../lock/types.ts";
import type { Store } from "../../store/store.ts";

/**
 * Copyright files of packages that are shipped and not installed in the root: `copyright`, a tar with their paths.
 * Changes with the lock only. Parts of Debian's installer (udebs) have none.
 */
export function licencesStage(tools: Tools, packages: readonly LockedPackage[], store: Store, suffix: string): Stage {
  const objects = objectsDirectory(store);
  const hashes = [...new Set(packages.map(({ sha256 }) => sha256))].toSorted();
  return {
    name: `licences${suffix}`,
    version: scriptVersion(tools, "licences.sh"),
    options: { epoch: tools.epoch, packages: hashes },
    inputs: {},
    outputs: ["copyright"],
    async run(work) {
      const list = join(work.out, "list");
      await writeFile(list, hashes.map((sha256) => `${relative(objects, store.path(sha256))}\n`).join(""));
      await runScript(tools, work, "licences.sh", [], { inputs: { list, objects } });
    },
  };
}
