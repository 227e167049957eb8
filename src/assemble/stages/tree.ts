import { writeFile } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import type { LockedPackage } from "../../lock/types.ts";
import type { Store } from "../../store/store.ts";
import type { Stage } from "../engine.ts";
import { checkDependencies } from "../dependencies.ts";
import { runScript, scriptVersion, type Tools } from "../tools.ts";

/** The platform's packages, unpacked and configured: a tar of the root file system. Changes with the lock only. */
export function treeStage(tools: Tools, packages: readonly LockedPackage[], store: Store, suffix = ""): Stage {
  const objects = join(store.directory, "store/sha256");
  return {
    name: `tree${suffix}`,
    version: scriptVersion(tools, "tree.sh", "unpack.pl", "configure.sh"),
    options: { packages: packages.map((item) => [basename(item.path), item.sha256]), epoch: tools.epoch },
    inputs: {},
    outputs: ["tree"],
    async run(work) {
      const lines = packages.map((item) => `${basename(item.path)} ${relative(objects, store.path(item.sha256))}\n`);
      const debs = join(work.out, "debs");
      await writeFile(debs, lines.toSorted().join(""));
      try {
        await runScript(tools, work, "tree.sh", [], { inputs: { debs, objects } });
      } catch (error) {
        // dpkg names the packages that it could not configure; what they lack is the better reason.
        if (!work.signal.aborted) await checkDependencies(packages, store, work.signal);
        throw error;
      }
    },
  };
}
