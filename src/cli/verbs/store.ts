import { InvalidArgumentError } from "@commander-js/extra-typings";
import { exitCodes, KubedosError } from "../../../shared/error.ts";
import { count, formatBytes } from "../format.ts";
import { defaultSpecFile, parseSize } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos store gc|verify|import|export` */
export function storeVerb() {
  return verb("store", {
    summary: "clean up or check the cache of everything fetched and built",
    examples: [
      ["store gc --dry-run", "what a clean-up would remove"],
      ["store verify", "read every object again and remove damaged ones"],
      ["store import lab.iso", "a capsule's packages, for a build without a network"],
      ["store export lab.yaml --to inputs", "Python distributions, files and images for other tools"],
    ],
  })
    .addCommand(gcVerb())
    .addCommand(verifyVerb())
    .addCommand(importVerb())
    .addCommand(exportVerb());
}

function importVerb() {
  return verb("import", {
    summary: "bring a capsule's packages and other inputs into the cache",
    description:
      "What a mirror no longer has, or a machine without a network needs: `build --offline` finds it by the lock's hashes. " +
      "Only the inputs are taken, each with its hash checked.",
    examples: [["store import lab.iso", "then: build lab.yaml --offline"]],
    exits: [1, 2, 130],
  })
    .argument("<capsule>", "directory or ISO")
    .action(async (path, _options, command) => {
      await runVerb(command, async (context) => {
        const [{ importObjects }, { openCapsule }, { openStore }, { cacheDirectory }] = await Promise.all([
          import("../../capsule/import.ts"),
          import("../../capsule/open.ts"),
          import("../../store/store.ts"),
          import("../../host/paths.ts"),
        ]);
        const store = await openStore(cacheDirectory());
        const lease = await store.lease(context.signal);
        const capsule = await openCapsule(path, store.directory, context.signal);
        try {
          const result = await importObjects(capsule.directory, store, context);
          const { objects, imported, sizeBytes } = result;
          const there = objects === imported ? "" : `, ${objects - imported} were there already`;
          return { data: { ...result }, text: `${count(imported, "object")}, ${formatBytes(sizeBytes)}${there}` };
        } finally {
          await capsule.close();
          await lease.release();
        }
      });
    });
}

function exportVerb() {
  return verb("export", {
    summary: "write a lock's Python distributions, files and images for other tools",
    description:
      "python/ is a directory for pip's find-links, files/ holds files under their names, images/ is an OCI layout, which\n" +
      "`skopeo` and `ctr images import` read (the latter as a tar). The same lock gives the same bytes.",
    examples: [["store export lab.yaml --to inputs", "what lab.lock pins besides Debian's packages"]],
    exits: [1, 2, 4, 130],
  })
    .argument("[spec]", "spec file; its lock is beside it", defaultSpecFile)
    .requiredOption("--to <directory>", "a directory that does not exist yet")
    .action(async (file, options, command) => {
      await runVerb(command, async (context) => {
        const [{ exportInputs }, { openStore }, { cacheDirectory, specPaths }, { readLock }, { loadSpec }] =
          await Promise.all([
            import("../../lifecycle/export-inputs.ts"),
            import("../../store/store.ts"),
            import("../../host/paths.ts"),
            import("../../lock/file.ts"),
            import("../../spec/load.ts"),
          ]);
        const spec = await loadSpec(file);
        const path = specPaths(file).lock;
        const lock = await readLock(path);
        if (lock === undefined) {
          throw new KubedosError("spec", `there is no lock: ${path}`, { hint: "run `kubedos lock` first" });
        }
        const store = await openStore(cacheDirectory());
        const result = await exportInputs({ spec, lock }, options.to, store, context);
        const { directory, wheels, files, images } = result;
        const parts = [count(wheels, "Python distribution"), count(files, "file"), count(images, "image")];
        return { data: { ...result }, text: `wrote ${directory}: ${parts.join(", ")}` };
      });
    });
}

function gcVerb() {
  return verb("gc", {
    summary: "remove what was not used for a while",
    description:
      "Refuses to run beside a build. What is removed can be fetched or built again. A build that leaves the cache larger\n" +
      "than KUBEDOS_CACHE_LIMIT (40GB; `off` for no limit) does the same with what was used longest ago.",
    examples: [
      ["store gc", "remove what was not used for 30 days"],
      ["store gc --max-size 10GB", "and of the rest what was used longest ago, down to a size"],
      ["store gc --older-than 0 --keep cluster.lock", "remove everything but the packages of a lock"],
    ],
    exits: [1, 2, 130],
  })
    .option("--older-than <days>", "keep what was used within this many days", parseDays, 30)
    .option("--max-size <size>", "leave at most this much on the disk, e.g. 10GB", parseSize)
    .option("--keep <lock...>", "keep the packages of these lock files")
    .option("--dry-run", "remove nothing, say what would be")
    .action(async (options, command) => {
      await runVerb(command, async (context) => {
        const [{ collectGarbage }, { openStore }, { cacheDirectory }, { readLock }, { lockedObjects }] =
          await Promise.all([
            import("../../store/gc.ts"),
            import("../../store/store.ts"),
            import("../../host/paths.ts"),
            import("../../lock/file.ts"),
            import("../../lock/objects.ts"),
          ]);
        const keep: string[] = [];
        for (const file of options.keep ?? []) {
          const lock = await readLock(file);
          if (lock === undefined) {
            throw new KubedosError("spec", `no such lock: ${file}`, {
              hint: "name the file that `kubedos lock` wrote",
            });
          }
          keep.push(...lockedObjects(lock).map((one) => one.sha256));
        }
        const dryRun = options.dryRun === true;
        const store = await openStore(cacheDirectory());
        const limits = { olderThanDays: options.olderThan, maxBytes: options.maxSize };
        const result = await collectGarbage(store, { ...limits, dryRun, keep }, context);
        const { removedObjects, removedBytes, removedActions, removedDirectories, keptObjects, keptBytes } = result;
        const removed = [
          count(removedObjects, "object"),
          count(removedActions, "action"),
          count(removedDirectories, "unpacked tree"),
        ];
        return {
          data: { dryRun, ...result },
          text:
            `${dryRun ? "would remove" : "removed"} ${removed.slice(0, -1).join(", ")} and ${removed.at(-1)} ` +
            `(${formatBytes(removedBytes)}); kept ${count(keptObjects, "object")} (${formatBytes(keptBytes)})`,
        };
      });
    });
}

function verifyVerb() {
  return verb("verify", {
    summary: "read every object again and compare it with its hash",
    description: "Damaged objects are removed and named; the next build fetches or makes them again.",
    examples: [["store verify", "check the whole store"]],
    exits: [1, 130],
  }).action(async (_options, command) => {
    await runVerb(command, async (context) => {
      const [{ verifyAll }, { openStore }, { cacheDirectory }] = await Promise.all([
        import("../../store/gc.ts"),
        import("../../store/store.ts"),
        import("../../host/paths.ts"),
      ]);
      const result = await verifyAll(await openStore(cacheDirectory()), context);
      const { checked, checkedBytes, damaged } = result;
      const found = damaged.length === 0 ? "none damaged" : `${damaged.length} damaged and removed`;
      return {
        data: { ...result },
        text: `checked ${count(checked, "object")} (${formatBytes(checkedBytes)}): ${found}`,
        status: damaged.length === 0 ? 0 : exitCodes.failed,
      };
    });
  });
}

function parseDays(text: string): number {
  const days = Number(text);
  if (text.trim() !== "" && Number.isFinite(days) && days >= 0) return days;
  throw new InvalidArgumentError("write a number of days, 0 or more.");
}
